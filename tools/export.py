"""Runs `mmvit export`, for users who expect a script in tools/, as in OpenMMLab's packages."""
import sys

from mmvit.cli import main

main(['export', *sys.argv[1:]])
