"""Runs `mmvit train`, where OpenMMLab users look for it."""
import sys

from mmvit import command

command(['train', *sys.argv[1:]])
