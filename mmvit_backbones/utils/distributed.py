"""What the processes of a training know of each other before they are connected."""
import os


def is_first_process() -> bool:
    """Returns whether this is the only process or the first of all machines, as its launcher says."""
    return os.environ.get('RANK', '0') == '0'
