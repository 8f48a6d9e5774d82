"""Runs `mmvit export`, for users who expect a script in tools/, as in OpenMMLab's packages."""
import sys

from mmvit import command

command(['export', *sys.argv[1:]])
