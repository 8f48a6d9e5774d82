"""Runs `mmvit test`, for users who expect a script in tools/, as in OpenMMLab's packages."""
import sys

from mmvit.cli import main

main(['test', *sys.argv[1:]])
