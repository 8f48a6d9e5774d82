"""Runs `mmvit serve`, where OpenMMLab users look for it."""
import sys

from mmvit import command

command(['serve', *sys.argv[1:]])
