"""Runs `mmvit test`, where OpenMMLab users look for it."""
import sys

from mmvit import command

command(['test', *sys.argv[1:]])
