"""The rank of a process before the process group is initialized."""
import os


def is_first_process() -> bool:
    """Returns whether the launcher has given this process rank 0, or there is no launcher."""
    return os.environ.get('RANK', '0') == '0'
