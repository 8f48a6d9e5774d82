"""What is measured of a network or a whole model, and the table of its figures."""
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch

from mmvit_backbones.errors import MMViTError, UsageError, first_line
from mmvit_backbones.utils import versions

from ..utils.tables import as_markdown
from .counters import saved_bytes
from .timing import take_turns

Precision = Literal['float32', 'float16', 'bfloat16']


class Table(NamedTuple):
    """Figures of networks or of whole models. As text, it is a table in Markdown with its conditions.

    Attributes:
        about (str): The conditions.
        rows (list[dict]): One row per ``model``. Rows of networks have ``forward_ms``, the milliseconds of a forward
            pass in evaluation mode without gradients; ``step_ms``, those of a forward and a backward pass in training
            mode; ``images_per_second`` of forward passes; ``saved_bytes_per_image``; and ``forward_ratio``,
            ``step_ratio`` and ``saved_ratio``, relative to the baseline in the first row. On a GPU, they also have
            ``gib``, the peak memory of a step. Rows of whole models have ``step_ms``, ``images_per_second``,
            ``saved_bytes_per_image`` and ``gib``, or ``error``.
    """

    about: str
    rows: list[dict]

    def __str__(self) -> str:
        figures = [{name: value for name, value in row.items() if name != 'error'} for row in self.rows]
        errors = [f'{row["model"]} failed: {row["error"]}' for row in self.rows if 'error' in row]
        return '\n'.join([self.about, '', as_markdown(figures), *errors])


@contextmanager
def measuring(threads: int) -> Iterator[None]:
    """Sets the number of CPU threads, and reports measurements that fail, e.g. for too small images, as UsageError."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        # training is measured wherever this is called
        with torch.inference_mode(False), torch.enable_grad():
            yield
    except MMViTError:
        raise
    except (RuntimeError, ValueError) as error:  # e.g. too small images for batch norms, or too little memory
        raise UsageError(f'the networks cannot be measured with these options: {first_line(error)}') from error
    finally:
        torch.set_num_threads(before)


class Contender:
    """A network on the device of the images; its figures are a row of a table.

    Args:
        name (str): Name for the table.
        model (nn.Module): Network.
        images (Tensor): ``(B, 3, H, W)``.
        precision (str): Dtype of autocast, or ``'float32'`` without autocast.
    """

    def __init__(self, name: str, model: torch.nn.Module, images: torch.Tensor, precision: str = 'float32') -> None:
        self.row: dict[str, Any] = dict(model=name)
        self.allocated = torch.cuda.memory_allocated() if images.is_cuda else 0  # by others
        self.model, self.images = model.to(images.device).train(), images
        self.autocast = versions.autocast(images.device.type, getattr(torch, precision))

    def outputs(self) -> Any:
        """Returns what a step is computed from."""
        with self.autocast:
            outputs = self.model(self.images)
        return [outputs] if isinstance(outputs, torch.Tensor) else outputs

    def forward(self) -> None:
        with torch.no_grad():
            self.outputs()

    def step(self) -> None:
        torch.as_tensor(sum(out.float().square().mean() for out in self.outputs())).backward()
        self.model.zero_grad(set_to_none=True)

    def measure_memory(self) -> None:
        """Adds the bytes that autograd saves, and a GPU's peak memory of a step."""
        self.row['saved_bytes_per_image'] = saved_bytes(self.outputs, self.model) // len(self.images)
        if self.images.is_cuda:
            self.step()  # allocates an optimizer's state
            torch.cuda.reset_peak_memory_stats()
            self.step()
            self.row['gib'] = (torch.cuda.max_memory_allocated() - self.allocated) / 2**30

    def measure_step(self, repeats: int) -> None:
        """Adds the median milliseconds of a step, and images per second."""
        times, = take_turns([self.step], repeats, self.images.device)
        seconds = statistics.median(times)
        self.row |= dict(step_ms=1000 * seconds, images_per_second=len(self.images) / seconds)
