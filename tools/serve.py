"""Runs `mmvit serve`, for users who expect a script in tools/, as in OpenMMLab's packages."""
import sys

from mmvit.cli import main

if __name__ == '__main__':  # processes that start by spawn import this file
    main(['serve', *sys.argv[1:]])
