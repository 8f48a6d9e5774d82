"""Errors of the package. Each message is one line with what came, what is allowed or what to do."""


class MMViTError(Exception):
    """Base of the errors of this package."""


class UsageError(MMViTError, ValueError):
    """A config, an argument or a file of the user's that can't be used."""


class TooLargeError(UsageError):
    """An image or a file beyond a limit."""


class CheckpointError(MMViTError, ValueError):
    """A checkpoint that can't be used."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """A checkpoint that does not exist."""


class TrainingError(MMViTError, RuntimeError):
    """A training that cannot go on; the message also names what to try.

    A data loader re-raises an error of its worker with the traceback in the message: only the line itself is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().split(f'{type(self).__name__}: ')[-1].split('\n')[0])


class UnreadableSampleError(TrainingError):
    """More unreadable samples than ``max_skipped`` of the data set."""


def first_line(error: Exception) -> str:
    """Returns the class of an error and the first line of its message."""
    return f'{type(error).__name__}: {error}'.strip().split('\n')[0]
