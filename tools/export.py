"""Runs `mmvit export`, where OpenMMLab users look for it."""
import sys

from mmvit import command

command(['export', *sys.argv[1:]])
