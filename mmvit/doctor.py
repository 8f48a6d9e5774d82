"""Reports which frameworks and operator backends work, and what is missing.

    mmvit doctor
"""
from argparse import ArgumentParser

from .arguments import new_parser


def get_parser() -> ArgumentParser:
    return new_parser(__doc__)
