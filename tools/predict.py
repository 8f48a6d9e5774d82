"""Runs `mmvit predict`, where OpenMMLab users look for it."""
import sys

from mmvit import command

command(['predict', *sys.argv[1:]])
