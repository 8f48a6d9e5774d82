"""Tests: `mmvit test`, where OpenMMLab's users look for it."""
import sys

from mmvit import command

command(['test', *sys.argv[1:]])
