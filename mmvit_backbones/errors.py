"""Errors of the package. Each message is one line that names the value and what is allowed."""


class UsageError(Exception):
    """An error in the user's input."""


class CheckpointError(ValueError):
    """A checkpoint that can't be used; the message names it and the reason."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """A checkpoint that does not exist."""


class TrainingError(RuntimeError):
    """A training that cannot continue; the message names the reason and remedies.

    A data loader re-raises an error of its worker with the traceback in the message: only the line itself is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().split(f'{type(self).__name__}: ')[-1].split('\n')[0])


def first_line(error: Exception) -> str:
    """Returns the type of an error and the first line of its message."""
    return f'{type(error).__name__}: {error}'.strip().split('\n')[0]
