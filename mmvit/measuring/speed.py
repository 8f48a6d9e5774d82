"""Measures the time and memory of networks relative to a baseline."""
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import torch

from mmvit_backbones.errors import MMViTError, UsageError, first_line
from mmvit_backbones.ops import use_kernels
from mmvit_backbones.utils.image_sizes import height_and_width
from mmvit_backbones.zoo.variants import find_names

from ..inference.runtimes import find_device
from ..utils.counters import bytes_of, saved_storages
from ..utils.tables import as_markdown, write_csv
from .networks_by_name import build
from .timing import CALLS_ON_GPUS, graph_seconds, name_of, ratio, take_turns

SWIN_TINY = 'timm:swin_tiny_patch4_window7_224'
Precision = Literal['float32', 'float16', 'bfloat16']
KernelChoice = Literal['default', 'reference', 'triton']
# Figure of Benchmark.models -> column of the table.
RELATIVE = dict(forward='forward_ratio', train_step='step_ratio', saved_bytes_per_image='saved_bytes_per_image',
                saved_ratio='saved_ratio')

# ---- tables

class Table(NamedTuple):
    """Figures of networks and models by setting. As text, it is a table in Markdown with its conditions.

    Attributes:
        about (str): The conditions.
        rows (list[dict]): One row per ``model``, ``runtime`` and ``kernels``. Rows of
            :func:`benchmark` have ``forward_ms``, the milliseconds of a forward pass in evaluation mode without
            gradients; ``step_ms``, those of a forward and a backward pass in training mode; ``images_per_second`` of
            forward passes; ``saved_bytes_per_image``; and ``forward_ratio``, ``step_ratio`` and ``saved_ratio``,
            relative to the baseline in the first row. On a GPU, they also have ``forward_graph_ms`` and
            ``step_graph_ms``, the milliseconds of the same kernels replayed as a CUDA graph, without the CPU, or
            ``'-'`` if none can be captured; and ``gib``, the peak memory of a step. Rows of :func:`benchmark_models`
            have ``step_ms``, ``images_per_second``, ``saved_bytes_per_image`` and ``gib``, or ``error``.
    """

    about: str
    rows: list[dict]

    def __str__(self) -> str:
        figures = [{name: value for name, value in row.items() if name != 'error'} for row in self.rows]
        errors = [f'{row["model"]} in {row["runtime"]} failed: {row["error"]}' for row in self.rows if 'error' in row]
        return '\n'.join([self.about, '', as_markdown(figures), *errors])

    def save(self, path: str | Path) -> None:
        """Writes the rows to a CSV file; raises UsageError if the disk is full."""
        write_csv(self.rows, path)


@contextmanager
def measuring(threads: int) -> Iterator[None]:
    """Sets the number of CPU threads, and reports measurements that fail, e.g. for too small images, as UsageError."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode(False), torch.enable_grad():  # training is measured wherever this is called
            yield
    except MMViTError:
        raise
    except (RuntimeError, ValueError) as error:  # e.g. too small images for batch norms, or too little memory
        raise UsageError(f'the networks cannot be measured with these options: {first_line(error)}') from error
    finally:
        torch.set_num_threads(before)


# ---- networks in PyTorch


class Contender:
    """A network with a setting; its figures are a row of a table.

    Args:
        name (str): Name for the table.
        model (nn.Module): Network on the device of the images.
        images (Tensor): ``(B, 3, H, W)``.
        precision (str): Dtype of autocast, or ``'float32'`` without autocast.
        kernels (str): A request of :class:`use_kernels`, or ``'default'``.
        runtime (str): ``'eager'`` or ``'compile'``.
    """

    def __init__(self, name: str, model: torch.nn.Module, images: torch.Tensor, precision: str = 'float32',
                 kernels: str = 'default', runtime: str = 'eager') -> None:
        self.row: dict[str, Any] = dict(model=name, runtime=runtime, kernels=kernels)
        self.model, self.images = model, images
        self.run = torch.compile(model) if runtime == 'compile' else model
        self.kernels = cast(Any, None if kernels == 'default' else kernels)
        self.autocast = torch.autocast(images.device.type, getattr(torch, precision), precision != 'float32')

    def outputs(self) -> Sequence[torch.Tensor]:
        with self.autocast:
            outputs = self.run(self.images)
        return [outputs] if isinstance(outputs, torch.Tensor) else outputs

    def forward(self) -> None:
        with use_kernels(self.kernels), torch.no_grad():
            self.outputs()

    def step(self) -> None:
        with use_kernels(self.kernels):
            torch.as_tensor(sum(out.float().square().mean() for out in self.outputs())).backward()
        self.model.zero_grad(set_to_none=True)

    def measure_memory(self) -> None:
        """Adds the bytes that autograd saves, which are unknown if compiled, and a GPU's peak memory of a step."""
        self.model.train()
        if self.run is self.model:
            with use_kernels(self.kernels), saved_storages(self.model) as saved:
                self.outputs()
            self.row['saved_bytes_per_image'] = bytes_of(saved) // len(self.images)
            del saved
        if self.images.is_cuda:
            self.step()  # compiles
            torch.cuda.reset_peak_memory_stats()
            others = torch.cuda.memory_allocated() - sum(
                x.nbytes for x in (*self.model.parameters(), *self.model.buffers(), self.images))
            self.step()
            self.row['gib'] = (torch.cuda.max_memory_allocated() - others) / 2**30


def time_contenders(contenders: Sequence[Contender], part: Literal['forward', 'step'], repeats: int) -> None:
    """Adds the times of a part to the rows, and those relative to the first contender, beside which all are timed."""
    for contender in contenders:
        contender.model.train(part == 'step')
    is_cuda = contenders[0].images.is_cuda
    steps = [getattr(contender, part) for contender in contenders]
    times = take_turns(steps, repeats, calls=CALLS_ON_GPUS if is_cuda else 1)
    for contender, step, seconds in zip(contenders, steps, times):
        if f'{part}_ms' in contender.row:  # the baseline, which runs again beside each network
            continue
        median = statistics.median(seconds)
        contender.row[f'{part}_ms'] = 1000 * median
        contender.row[f'{part}_ratio'] = round(ratio(seconds, times[0]), 3)
        if part == 'forward':
            contender.row['images_per_second'] = len(contender.images) / median
        if is_cuda:
            graph = graph_seconds(step, repeats)
            contender.row[f'{part}_graph_ms'] = '-' if graph is None else 1000 * graph


class Benchmark(NamedTuple):
    """Figures of networks relative to a baseline; smaller is better. As text, it is the table.

    Attributes:
        about (str): The conditions.
        torch (str): Version of PyTorch.
        saved_bytes_per_image_of_baseline (int): Bytes that autograd saves for the backward pass of the baseline.
        models (dict[str, dict[str, float]]): By network, with the first setting: ``forward``, the relative time of a
            forward pass in evaluation mode without gradients; ``train_step``, that of a forward and a backward pass in
            training mode; ``saved_bytes_per_image``, without parameters and buffers; and ``saved_ratio``, relative to
            the baseline.
        table (Table): All figures, with milliseconds.
    """

    about: str
    torch: str
    saved_bytes_per_image_of_baseline: int
    models: dict[str, dict[str, float]]
    table: Table

    def __str__(self) -> str:
        return str(self.table)


def benchmark(networks: Sequence[str], baseline: str = SWIN_TINY, override: dict[str, Any] | None = None,
              dense: bool = False, size: int | Sequence[int] | None = None, batch_size: int | None = None,
              repeats: int = 7, threads: int = 2, device: str = 'cpu', memory_only: bool = False,
              precision: Precision = 'float32', kernels: Sequence[KernelChoice] = ('default', ),
              compile: bool = False) -> Benchmark:
    """Measures the time and memory of networks with random weights relative to a baseline.

    A network, with each of ``kernels``, and the baseline are timed alternately, and each relative time is the median of
    ``repeats`` ratios. The baseline runs in eager mode with the default kernels.

    Args:
        networks (Sequence[str]): Names, shell patterns, ``timm:NAME`` and ``mmpretrain:NAME``.
        baseline (str): Name of a network, or ``timm:NAME`` or ``mmpretrain:NAME``. Defaults to timm's Swin-T.
        override (dict[str, Any] | None): Arguments of the networks' backbones. Defaults to None.
        dense (bool): Whether to measure backbones that return all feature maps, without heads. Defaults to False.
        size (int | Sequence[int] | None): Side of the images, or height and width, in pixels. Defaults to None: 224 and
            224, or 448 and 672 if ``dense``.
        batch_size (int | None): Images per batch. Defaults to None, which means 4, or 1 if ``dense``.
        repeats (int): Number of measurements. Defaults to 7.
        threads (int): Number of CPU threads. Defaults to 2.
        device (str): Device of the measurements, e.g. ``'cuda'``. Defaults to ``'cpu'``.
        memory_only (bool): Whether to report only the saved bytes. Defaults to False.
        precision (str): Dtype of autocast, ``'float16'`` or ``'bfloat16'``, or ``'float32'`` without autocast. Defaults
            to ``'float32'``.
        kernels (Sequence[str]): Kernels of this package's operators: ``'default'``, ``'reference'``, ``'triton'``.
            Defaults to ('default',).
        compile (bool): Whether to compile the networks. Defaults to False.

    Raises:
        UsageError: If a network cannot be built or measured with these arguments.
    """
    check_values('precision', [precision], get_args(Precision))
    check_values('kernels', kernels, get_args(KernelChoice))
    names = names_of(networks)
    height_width = height_and_width(((448, 672) if dense else 224) if size is None else size)
    with measuring(threads):
        images = torch.randn(batch_size or (1 if dense else 4), 3, *height_width, device=find_device(device))
        with torch.cuda.device_of(images):
            other_model = build(baseline, 'baseline', dense, height_width).to(images.device)
            other = Contender(baseline, other_model, images, precision)
            other.measure_memory()
            rows = [other.row]
            for name in names:
                model = build(name, 'network', dense, height_width, override).to(images.device)
                contenders = [Contender(name, model, images, precision, choice, 'compile' if compile else 'eager')
                              for choice in dict.fromkeys(kernels)]
                for contender in contenders:
                    contender.measure_memory()
                for part in () if memory_only else ('forward', 'step'):
                    time_contenders([other, *contenders], part, repeats)
                rows += [contender.row for contender in contenders]
                print(*(contender.row for contender in contenders), sep='\n', file=sys.stderr, flush=True)
                torch.compiler.reset()  # frees compiled programs, whose number is limited
    saved = other.row['saved_bytes_per_image']
    for row in rows:
        if 'saved_bytes_per_image' in row:
            row['saved_ratio'] = round(row['saved_bytes_per_image'] / saved, 3)
    models: dict[str, dict[str, float]] = {}
    for row in rows[1:]:
        models.setdefault(row['model'], {name: row[key] for name, key in RELATIVE.items() if key in row})
    about = (f'{name_of(images.device)}, torch {torch.__version__}, {height_width[0]} x {height_width[1]} (height x '
             f'width), batch {len(images)}, {precision}, {threads} CPU threads, random weights, median of {repeats}; '
             f'ratios are relative to {baseline}')
    return Benchmark(about, torch.__version__, saved, models, Table(about, rows))


def names_of(networks: Sequence[str]) -> list[str]:
    """Returns names and what shell patterns match, each once; networks of other libraries have a colon."""
    found = ([name] if ':' in name else find_names([name]) for name in networks)
    return list(dict.fromkeys(chain.from_iterable(found)))


def check_values(argument: str, values: Sequence[str], known: Sequence[str]) -> None:
    if isinstance(values, str) or not values or set(values) - set(known):
        raise UsageError(f'{argument} must be some of {", ".join(known)}, got {values!r}')
