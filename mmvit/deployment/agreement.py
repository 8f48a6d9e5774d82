"""Decides whether a file agrees with PyTorch: it must in ONNX Runtime; what other runtimes deviate is recorded."""
from collections.abc import Callable, Sequence
from pathlib import Path

from mmvit_backbones.errors import UsageError, first_line

from ..inference.runtimes import REFERENCE, installed_runtimes
from .files import Agreement, progress

REMEDY = 'pass --allow-accuracy-drop, or allow_accuracy_drop=True in Python, to write it anyway'
UPPER_LIMITS = 'resized', 'scores'  # other figures have lower limits


def below_limits(figures: dict[str, float], limits: dict[str, float]) -> list[str]:
    """Returns the names of the results that violate their limits."""
    return [name for name, value in figures.items()
            if not (value <= limits[name] if name in UPPER_LIMITS else value >= limits[name])]


def agreement_of(figures: dict[str, float], limits: dict[str, float]) -> Agreement:
    def describe(names: Sequence[str]) -> str:
        return ', '.join(f'{name} {figures[name]:.3g} (limit {limits[name]:g})' for name in names)

    return Agreement(describe(list(figures)), describe(below_limits(figures, limits)))


def compare_in_runtimes(path: Path, figures_in: Callable[[str], dict[str, float]], limits: dict[str, float],
                        allow_accuracy_drop: bool = False) -> dict[str, Agreement]:
    """Compares a file with PyTorch in each installed runtime.

    Args:
        path (Path): The file, for messages.
        figures_in (Callable): Takes the name of a runtime and returns the figures of the file in it.
        limits (dict[str, float]): Limits of the figures.
        allow_accuracy_drop (bool): Whether ONNX Runtime may exceed the limits. Defaults to False.

    Returns:
        dict[str, Agreement]: By runtime, ONNX Runtime first. Another runtime may differ from PyTorch or fail.

    Raises:
        UsageError: If the file does not agree with PyTorch in ONNX Runtime.
    """
    def compared(runtime: str) -> Agreement:
        with progress(f'comparing with PyTorch in {runtime}'):
            return agreement_of(figures_in(runtime), limits)

    found = {REFERENCE: compared(REFERENCE)}
    if found[REFERENCE].deviation and not allow_accuracy_drop:
        raise UsageError(f'{path} was not written: in {REFERENCE}, it differs from PyTorch: '
                         f'{found[REFERENCE].deviation}; {REMEDY}')
    for runtime in installed_runtimes():
        if runtime != REFERENCE:
            try:
                found[runtime] = compared(runtime)
            except Exception as error:  # the runtimes' exceptions have no public base class
                cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
                found[runtime] = Agreement(*2 * [f'fails with {first_line(cause)}'])
    return found
