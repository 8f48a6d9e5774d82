"""Measures the time and memory of networks relative to a baseline, and of whole models."""
import os.path as osp
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, Literal, NamedTuple, get_args

import torch
from mmengine.registry import MODELS

from mmvit_backbones import get_model
from mmvit_backbones.engine.hooks.compile import compile_backbone, why_not_compiled
from mmvit_backbones.errors import MMViTError, UsageError, first_line
from mmvit_backbones.ops.graphs import limits_kept
from mmvit_backbones.utils.image_sizes import height_and_width
from mmvit_backbones.utils.installation import install_command
from mmvit_backbones.zoo.settings import setting
from mmvit_backbones.zoo.variants import VARIANTS, find_names, find_variant

from ..configs.files import is_config
from ..inference.runtimes import find_device
from ..utils.counters import bytes_of, saved_storages
from ..utils.tables import as_markdown
from .timing import name_of, take_turns

SWIN_TINY = 'timm:swin_tiny_patch4_window7_224'
Precision = Literal['float32', 'float16', 'bfloat16']

# ---- tables

class Table(NamedTuple):
    """Figures of networks or of whole models. As text, it is a table in Markdown with its conditions.

    Attributes:
        about (str): The conditions.
        rows (list[dict]): One row per ``model``, in the ``runtime`` eager or compile. Rows of networks have
            ``forward_ms``, the milliseconds of a forward pass in evaluation mode without gradients; ``step_ms``, those
            of a forward and a backward pass in training mode; ``images_per_second`` of forward passes;
            ``saved_bytes_per_image``; and ``forward_ratio``, ``step_ratio`` and ``saved_ratio``, relative to the
            baseline in the first row. On a GPU, they also have ``gib``, the peak memory of a step. Rows of whole models
            have ``step_ms``, ``images_per_second``, ``saved_bytes_per_image`` and ``gib``, or ``error``.
    """

    about: str
    rows: list[dict]

    def __str__(self) -> str:
        figures = [{name: value for name, value in row.items() if name != 'error'} for row in self.rows]
        errors = [f'{row["model"]} in {row["runtime"]} failed: {row["error"]}' for row in self.rows if 'error' in row]
        return '\n'.join([self.about, '', as_markdown(figures), *errors])


@contextmanager
def measuring(threads: int) -> Iterator[None]:
    """Sets the number of CPU threads, and reports measurements that fail, e.g. for too small images, as UsageError."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        # training is measured wherever this is called
        with torch.inference_mode(False), torch.enable_grad(), limits_kept():
            yield
    except MMViTError:
        raise
    except (RuntimeError, ValueError) as error:  # e.g. too small images for batch norms, or too little memory
        raise UsageError(f'the networks cannot be measured with these options: {first_line(error)}') from error
    finally:
        torch.set_num_threads(before)


# ---- networks


def benchmark(networks: Sequence[str], baseline: str | None = None, dense: bool = False,
              size: int | Sequence[int] | None = None, batch_size: int | None = None, repeats: int = 7,
              threads: int = 2, device: str = 'cpu', precision: Precision = 'float32', compile: bool = False) -> Table:
    """Measures the time and memory of networks with random weights relative to a baseline, or of whole models.

    A network and the baseline are timed alternately, and each relative time is the median of ``repeats`` ratios. The
    baseline runs in eager mode. Of whole models, a step of the training is measured: preprocessing, losses, gradients
    and optimizer, without data loading, on random images and annotations. Each model is alone in memory.

    Args:
        networks (Sequence[str]): Names, shell patterns and ``timm:NAME``; or for whole models configs, by name or file,
            and work dirs of trainings.
        baseline (str | None): Name of a network, or ``timm:NAME``. Defaults to timm's Swin-T; whole models have none.
        dense (bool): Whether to measure backbones as in detectors, which return all feature maps, without heads, and
            without activation checkpointing. Defaults to False.
        size (int | Sequence[int] | None): Side of the images, or height and width, in pixels. Defaults to None: 224 and
            224, or 448 and 672 if ``dense``; for whole detectors 800 and 1333, for segmenters 512 and 512.
        batch_size (int | None): Images per batch. Defaults to None: 4, 1 if ``dense``, and 2 for whole models.
        repeats (int): Number of measurements. Defaults to 7.
        threads (int): Number of CPU threads. Defaults to 2.
        device (str): Device of the measurements, e.g. ``'cuda'``. Defaults to ``'cpu'``.
        precision (str): Dtype of autocast, ``'float16'`` or ``'bfloat16'``, or ``'float32'`` without autocast, whatever
            that of a config. Defaults to ``'float32'``.
        compile (bool): Whether to compile the blocks of the networks as ``CompileHook`` does, or those of other
            libraries as a whole. Defaults to False.

    Raises:
        UsageError: If a network or a config cannot be built or measured with these arguments. Too little memory of a
            GPU, or no kernel for ``precision``, is an ``error`` in the row of a whole model.
    """
    if precision not in get_args(Precision):
        raise UsageError(f'precision must be one of {", ".join(get_args(Precision))}, got {precision!r}')
    if any(map(is_whole, networks)):
        if option := 'baseline' if baseline else 'dense' if dense else '':
            raise UsageError(f'{option} (--{option}) is for networks, got whole models, i.e. configs or work dirs')
        from .whole_models import measure_whole_models
        return measure_whole_models(networks, size, batch_size or 2, repeats, threads, device, precision, compile)
    names, baseline = list_names(networks), baseline or SWIN_TINY
    height, width = height_and_width(((448, 672) if dense else 224) if size is None else size)
    with measuring(threads):
        images = torch.randn(batch_size or (1 if dense else 4), 3, height, width, device=find_device(device))
        with torch.cuda.device_of(images):
            other = Contender(baseline, build(baseline, 'baseline', dense, (height, width)), images, precision)
            other.measure_memory()
            rows = [other.row]
            for name in names:
                contender = Contender(name, build(name, 'network', dense, (height, width)), images, precision)
                if compile:
                    contender.compile(dense)
                contender.measure_memory()
                for part in 'forward', 'step':
                    time_beside(other, contender, part, repeats)
                rows.append(contender.row)
                print(contender.row, file=sys.stderr, flush=True)
                torch.compiler.reset()  # frees compiled programs, whose number is limited
    for row in rows:
        if 'saved_bytes_per_image' in row:
            row['saved_ratio'] = round(row['saved_bytes_per_image'] / other.row['saved_bytes_per_image'], 3)
    about = (f'{name_of(images.device)}, torch {torch.__version__}, {height} x {width} (height x width), batch '
             f'{len(images)}, {precision}, {threads} CPU threads, random weights, median of {repeats}; ratios are '
             f'relative to {baseline}')
    return Table(about, rows)


class Contender:
    """A network on the device of the images; its figures are a row of a table.

    Args:
        name (str): Name for the table.
        model (nn.Module): Network.
        images (Tensor): ``(B, 3, H, W)``.
        precision (str): Dtype of autocast, or ``'float32'`` without autocast.
    """

    def __init__(self, name: str, model: torch.nn.Module, images: torch.Tensor, precision: str = 'float32') -> None:
        self.row: dict[str, Any] = dict(model=name, runtime='eager')
        self.allocated = torch.cuda.memory_allocated() if images.is_cuda else 0  # by others
        self.model, self.images = model.to(images.device).train(), images
        self.autocast = torch.autocast(images.device.type, getattr(torch, precision), precision != 'float32')

    def compile(self, dynamic: bool) -> None:
        """Compiles the backbone as ``CompileHook`` does; raises UsageError if nothing can be compiled."""
        if reason := why_not_compiled(self.images.device, 'inductor'):
            raise UsageError(f'compile: nothing can be compiled, because {reason}')
        compile_backbone(getattr(self.model, 'backbone', self.model), dynamic)
        self.row['runtime'] = 'compile'

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
        """Adds the bytes that autograd saves, which are unknown if compiled, and a GPU's peak memory of a step."""
        if self.row['runtime'] == 'eager':
            with saved_storages(self.model) as saved:
                self.outputs()
            self.row['saved_bytes_per_image'] = bytes_of(saved) // len(self.images)
            del saved
        if self.images.is_cuda:
            self.step()  # compiles, and allocates an optimizer's state
            torch.cuda.reset_peak_memory_stats()
            self.step()
            self.row['gib'] = (torch.cuda.max_memory_allocated() - self.allocated) / 2**30

    def measure_step(self, repeats: int) -> None:
        """Adds the median milliseconds of a step, and images per second."""
        times, = take_turns([self.step], repeats, self.images.device)
        seconds = statistics.median(times)
        self.row |= dict(step_ms=1000 * seconds, images_per_second=len(self.images) / seconds)


def time_beside(baseline: Contender, contender: Contender, part: Literal['forward', 'step'], repeats: int) -> None:
    """Adds the times of a part to the rows; the baseline keeps those beside the first network."""
    pair = baseline, contender
    for each in pair:
        each.model.train(part == 'step')
    times = take_turns([getattr(each, part) for each in pair], repeats, contender.images.device)
    for each, seconds in zip(pair, times):
        ratio = statistics.median(own / others for own, others in zip(seconds, times[0]))
        median = statistics.median(seconds)
        each.row.setdefault(f'{part}_ms', 1000 * median)
        each.row.setdefault(f'{part}_ratio', round(ratio, 3))
        if part == 'forward':
            each.row.setdefault('images_per_second', len(each.images) / median)


def is_whole(name: str) -> bool:
    """Returns whether a name is of a whole model: a config, or the work dir of a training."""
    return is_config(name) or osp.isdir(name) and name not in VARIANTS


def list_names(networks: Sequence[str]) -> list[str]:
    """Returns names and what shell patterns match, each once; networks of timm have a colon."""
    found = ([name] if ':' in name else find_names([name]) for name in networks)
    return list(dict.fromkeys(chain.from_iterable(found)))


def build(name: str, argument: str, dense: bool, size: tuple[int, int]) -> torch.nn.Module:
    """Builds a network of this package, or ``timm:NAME``; errors start with ``argument``."""
    library, _, plain_name = name.rpartition(':')
    if library not in ('', 'timm'):
        raise UsageError(f'{argument} must be NAME or timm:NAME, got {name}')
    try:
        if library:
            return build_timm(plain_name, dense, size)
        if dense:
            return MODELS.build({**setting(find_variant(plain_name), 'dense').backbone, 'with_cp': False})
        return get_model(plain_name)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f'{argument} {name}: {first_line(error)}') from error
    except ImportError:
        remedy = 'timm: pip install timm' if library else (
            f'mmpretrain: {install_command("mmpretrain")}; or measure it as dense')
        raise UsageError(f'{argument} {name} needs {remedy}') from None


def build_timm(name: str, dense: bool, size: tuple[int, int]) -> torch.nn.Module:
    import timm
    from timm.models import get_pretrained_cfg
    options: dict = dict(features_only=True) if dense else {}
    if (settings := get_pretrained_cfg(name)) and settings.fixed_input_size:
        options['img_size'] = size
    return timm.create_model(name, pretrained=False, **options)
