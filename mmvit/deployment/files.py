"""Describes exported files, and shows the progress of the steps."""
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mmvit_backbones.errors import UsageError

from ..utils.shell import console_of


class Agreement(NamedTuple):
    """The differences of a file from PyTorch in a runtime, in words.

    Attributes:
        figures (str): All figures with their limits, or why the runtime fails.
        deviation (str): The figures beyond their limits, or why the runtime fails; empty if the file agrees.
    """

    figures: str
    deviation: str = ''


@dataclass
class ExportedFile:
    """A file that was written, and how it agrees with PyTorch.

    Attributes:
        path (Path): The file; weights of more than 1.5 GB are in ``PATH.data``.
        size (float): MiB, with ``PATH.data``.
        compared_on (str): What the outputs were compared on, e.g. ``'8 images'``.
        agreement (dict[str, Agreement]): By runtime. The metadata of the file contain the deviations beyond the limits.
    """

    path: Path
    size: float
    compared_on: str
    agreement: dict[str, Agreement]

    def __str__(self) -> str:
        lines = [f'{self.path}: {self.size:.1f} MiB; compared with PyTorch on {self.compared_on}']
        lines += [f'{runtime}: {found.figures}' for runtime, found in self.agreement.items()]
        lines += [f'warning: in {runtime}, the file differs from PyTorch: {found.deviation}'
                  for runtime, found in self.agreement.items() if found.deviation]
        return '\n'.join(lines)


def size_of_file(path: Path) -> float:
    """Returns the MiB of a file and of its weights in ``PATH.data``."""
    return sum(file.stat().st_size for file in (path, Path(f'{path}.data')) if file.exists()) / 2**20


def check_packages() -> None:
    """Raises UsageError if a package for exports is not installed."""
    if missing := [name for name in ('onnx', 'onnxruntime', 'onnxscript') if find_spec(name) is None]:
        raise UsageError(f"exports need {' and '.join(missing)}: pip install 'mmvit_backbones[export]'")


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Shows a step of the export and how long it takes on stderr."""
    with Progress(SpinnerColumn(), TextColumn('{task.description}'), TimeElapsedColumn(),
                  console=console_of(sys.stderr)) as shown:
        shown.add_task(text, total=None)
        yield
