"""Decides whether a file agrees with PyTorch: it must in ONNX Runtime; what other runtimes deviate is recorded."""
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mmvit_backbones.errors import UsageError, first_line

from ..inference.runtimes import REFERENCE, installed_runtimes
from ..utils.shell import console_of
from .differences import LIMITS

UPPER_LIMITS = 'resized', 'scores'  # other figures have lower limits
REMEDY = 'pass allow_accuracy_drop=True (--allow-accuracy-drop) to write it anyway'


class Agreement(NamedTuple):
    """The differences of a file from PyTorch in a runtime, in words.

    Attributes:
        figures (str): All figures with their limits, or why the runtime fails.
        deviation (str): The figures beyond their limits, or why the runtime fails; empty if the file agrees.
    """

    figures: str
    deviation: str


def agreement_of(figures: dict[str, float]) -> Agreement:
    """Describes the figures of :meth:`.PyTorchOutputs.compare`."""
    texts = {name: f'{name} {value:.3g} (limit {LIMITS[name]:g})' for name, value in figures.items()}
    return Agreement(', '.join(texts.values()),
                     ', '.join(text for name, text in texts.items() if not is_within_limit(name, figures[name])))


def is_within_limit(name: str, value: float) -> bool:
    """Returns whether a figure reaches its limit; NaN never does."""
    return value <= LIMITS[name] if name in UPPER_LIMITS else value >= LIMITS[name]


def compare_in_runtimes(path: Path, figures_in: Callable[[str], dict[str, float]],
                        allow_accuracy_drop: bool = False) -> dict[str, Agreement]:
    """Compares a file with PyTorch in each installed runtime.

    Args:
        path (Path): The file, for messages.
        figures_in (Callable): Takes the name of a runtime and returns the figures of the file in it.
        allow_accuracy_drop (bool): Whether ONNX Runtime may exceed the limits. Defaults to False.

    Returns:
        dict[str, Agreement]: By runtime, ONNX Runtime first. Another runtime may differ from PyTorch or fail.

    Raises:
        UsageError: If the file does not agree with PyTorch in ONNX Runtime.
    """
    found = {}
    for runtime in installed_runtimes():
        try:
            with console_of(sys.stderr).status(f'comparing with PyTorch in {runtime}'):
                found[runtime] = agreement_of(figures_in(runtime))
        except Exception as error:  # the runtimes' exceptions have no public base class
            if runtime == REFERENCE:
                raise
            text = f'fails with {first_line(error)}'
            found[runtime] = Agreement(text, text)
        if runtime == REFERENCE and found[runtime].deviation and not allow_accuracy_drop:
            raise UsageError(f'{path} was not written: in {REFERENCE}, it differs from PyTorch: '
                             f'{found[runtime].deviation}; {REMEDY}')
    return found
