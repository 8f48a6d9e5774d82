"""Reports which frameworks and operator backends work.

    mmvit doctor

Networks that run their kernels are compared with the same networks in plain PyTorch, on the GPU, or else on the CPU.
The exit code is 1 if something that is installed does not work.
"""
import sys
from argparse import ArgumentParser, Namespace

from .arguments import new_parser


def get_parser() -> ArgumentParser:
    return new_parser(__doc__)


def run(args: Namespace) -> None:
    from ..measuring.doctor import diagnose
    lines, problems = diagnose()
    print('\n'.join(lines))
    if problems:
        sys.exit(1)
