"""The errors of the package: each message is one line that says what came and what is allowed."""


class UsageError(Exception):
    """A mistake of the user's; its text is one line that says what came and what is allowed."""


class CheckpointError(ValueError):
    """A checkpoint that can't be used; the message is one line that names it and says why."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """A checkpoint that is not there."""


class TrainingError(RuntimeError):
    """A training that cannot go on; the message is one line that says why and what to try.

    A data loader raises an error of its worker again, with the traceback in the message: only the line itself is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().split(f'{type(self).__name__}: ')[-1].split('\n')[0])


def first_line(error: Exception) -> str:
    """The kind of an error, and the first line of what it says."""
    return f'{type(error).__name__}: {error}'.strip().split('\n')[0]
