"""Trains: `mmvit train`, where OpenMMLab's users look for it."""
import sys

from mmvit import command

command(['train', *sys.argv[1:]])
