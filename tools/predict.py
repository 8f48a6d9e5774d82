"""Runs `mmvit predict`, for users who expect a script in tools/, as in OpenMMLab's packages."""
import sys

from mmvit import command

command(['predict', *sys.argv[1:]])
