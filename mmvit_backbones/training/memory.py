"""Explains out-of-memory errors."""
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from mmengine.runner import Runner

from ..backbones import Backbone
from ..errors import TrainingError, first_line
from ..utils import versions
from ..utils.measure import count
from ..zoo.loading import unwrap_model


@contextmanager
def explained_shortage(runner: Runner) -> Iterator[None]:
    """Converts an out-of-memory error into a TrainingError that names the model, its input, and possible remedies."""
    shapes = _ShapesHook()
    runner.register_hook(shapes)
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        is_shortage = isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
        if not is_shortage and 'DefaultCPUAllocator' not in str(error):
            raise
        raise TrainingError(f'out of memory: {_describe(runner, shapes)} ({first_line(error)})') from error


class _ShapesHook(Hook):
    """Stores the number of images of the current batch, and the largest height and width."""

    priority = 'VERY_HIGH'
    batch, size = 0, (0, 0)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        images = data_batch.get('inputs', ()) if isinstance(data_batch, dict) else ()
        if len(images):
            self.batch, self.size = len(images), tuple(max(x.shape[axis] for x in images) for axis in (-2, -1))


def _describe(runner: Runner, shapes: _ShapesHook) -> str:
    model = unwrap_model(runner.model)
    backbone = getattr(model, 'backbone', None)
    name = type(backbone or model).__name__
    if not shapes.batch:
        return f'{name}, before the first batch'
    what = f'{name} on {shapes.batch} images of {shapes.size[0]} x {shapes.size[1]}'
    if not isinstance(backbone, Backbone) or versions.why_not('counting a recomputed step'):
        return f'{what}; try a smaller batch_size, model.backbone.with_cp=True, or mixed precision'
    room, config = _memory(), dict(runner.cfg.model.backbone)
    plain, recomputed = (_per_image(config, shapes.size, with_cp) for with_cp in (bool(config.get('with_cp')), True))
    return (f'{what}. Counted for the backbone alone, {room / 2**30:.1f} GiB hold at most {room // plain} images, or '
            f'{room // recomputed} with model.backbone.with_cp=True, and fewer for head, weights and optimizer. Try a '
            'smaller batch_size, model.backbone.with_cp=True, or mixed precision, which halves it on a GPU')


def _per_image(config: dict, size: tuple[int, int], with_cp: bool) -> int:
    """Returns the peak memory of a training step of the backbone in bytes, as ``tools/analysis/count_traffic.py``."""
    with torch.device('meta'):
        backbone = MODELS.build({**config, 'init_cfg': None, 'with_cp': with_cp})
        return count(backbone, torch.empty(1, backbone.in_channels, *size))['step']['peak']


def _memory() -> int:
    """Returns the memory limit of the process in bytes."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[1]
    limits = [resource.getrlimit(limit)[0] for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return min([os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'),
                *(limit for limit in limits if limit != resource.RLIM_INFINITY)])
