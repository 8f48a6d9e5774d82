"""Finds the rank of a process before the process group is initialized."""
import os


def is_first_process() -> bool:
    """Returns whether this process has rank 0, or was started without a launcher."""
    return os.environ.get('RANK', '0') == '0'
