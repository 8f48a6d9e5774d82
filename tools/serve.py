"""Runs `mmvit serve`, for users who expect a script in tools/, as in OpenMMLab's packages."""
import sys

from mmvit.cli import main

main(['serve', *sys.argv[1:]])
