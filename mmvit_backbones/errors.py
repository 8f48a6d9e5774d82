"""Exceptions of the package. A message is one line with the received value, and the allowed values or a remedy."""


class MMViTError(Exception):
    """Base class of this package's public exceptions."""


class UsageError(MMViTError, ValueError):
    """Raised for an invalid argument, config or file, or a missing package."""


class CheckpointError(MMViTError, ValueError):
    """Raised for a checkpoint that is invalid, unsuitable or unavailable."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """Raised for a checkpoint that does not exist."""


class UnreadCheckpointError(CheckpointError):
    """Raised for a checkpoint that cannot be read, but may be valid: memory is full, for example, or a disk fails."""


class UnknownKeyError(CheckpointError, KeyError):
    """Raised for a key of a checkpoint that no network has, or whose value is not a tensor."""

    __str__ = Exception.__str__  # KeyError would print the message in quotes


class TrainingError(MMViTError, RuntimeError):
    """Raised if training cannot continue; the message suggests a remedy where one is known.

    A data loader re-raises the error of a worker process with the whole traceback in the message. In this case, only
    the original message is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().split(f'{type(self).__name__}: ')[-1].split('\n')[0])


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, after the name of its class, which this package's speak without."""
    name = '' if isinstance(error, MMViTError) else f'{type(error).__name__}: '
    return f'{name}{str(error).strip()}'.split('\n')[0].rstrip(': ')
