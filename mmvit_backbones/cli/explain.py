"""Adds hints to common training errors."""
import errno
import os
import os.path as osp
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from mmengine.runner import FlexibleRunner, Runner
from torch import nn

from ..backbones import Backbone
from ..errors import TrainingError, UnreadableSampleError, first_line
from ..utils import versions
from ..utils.measure import count
from ..zoo.loading import unwrap_model


@contextmanager
def explained_errors(runner: Runner | FlexibleRunner) -> Iterator[None]:
    """Raises TrainingError with a hint for unreadable samples, too little memory or disk space, or a removed work dir.
    """
    images = _ImagesHook()
    runner.register_hook(images)
    try:
        yield
    except UnreadableSampleError as error:
        raise TrainingError(f'{error}: pass --on-bad-data skip --max-skipped N; mmvit data check lists all bad '
                            'files') from error
    except (RuntimeError, MemoryError) as error:
        is_shortage = isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
        if not is_shortage and 'DefaultCPUAllocator' not in str(error):
            raise
        raise TrainingError(f'out of memory: {_describe(runner, images)} ({first_line(error)})') from error
    except OSError as error:
        folder = osp.dirname(str(error.filename))
        is_ours = osp.abspath(folder).startswith(osp.abspath(runner.work_dir))
        if isinstance(error, FileNotFoundError) and is_ours and not osp.isdir(folder):
            raise TrainingError(f'{folder} was removed during training; --resume requires a checkpoint in '
                                f'{runner.work_dir}') from error
        if error.errno == errno.ENOSPC:
            raise TrainingError(f'{error.filename or runner.work_dir} cannot be written: {error.strerror}') from error
        raise


class _ImagesHook(Hook):
    """Stores the number of images in the current batch, and their largest height and width."""

    priority = 'VERY_HIGH'
    batch, size = 0, (0, 0)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        images = data_batch.get('inputs', ()) if isinstance(data_batch, dict) else ()
        if len(images):
            self.batch, self.size = len(images), tuple(max(x.shape[axis] for x in images) for axis in (-2, -1))


def _describe(runner: Runner | FlexibleRunner, images: _ImagesHook) -> str:
    if not isinstance(runner.model, nn.Module):
        return 'before the model was built'
    model = unwrap_model(runner.model)
    backbone = getattr(model, 'backbone', None)
    name = type(backbone or model).__name__
    if not images.batch:
        return f'{name}, before the first batch'
    what = f'{name} on {images.batch} images of {images.size[0]} x {images.size[1]} (height x width)'
    feature = 'counting kernels and memory with activation checkpointing'
    if isinstance(backbone, Backbone) and not versions.why_not(feature):
        memory, config = _memory(), dict(runner.cfg.model.backbone)
        plain, recomputed = (memory // _per_image({**config, 'with_cp': with_cp}, images.size)
                             for with_cp in (bool(config.get('with_cp')), True))
        what += (f'. Counting only the backbone, {memory / 2**30:.1f} GiB can hold at most {plain} images, or '
                 f'{recomputed} with model.backbone.with_cp=True; head, weights and optimizer need additional memory')
    return f'{what}; try a smaller --batch-size, model.backbone.with_cp=True, or --amp on a GPU'


def _per_image(config: dict, size: tuple[int, int]) -> int:
    """Returns the peak memory per image of the backbone's training step in bytes, as in ``mmvit flops --traffic``."""
    with torch.device('meta'):
        backbone = MODELS.build({**config, 'init_cfg': None})
        return count(backbone, torch.empty(1, backbone.in_channels, *size))['step']['peak']


def _memory() -> int:
    """Returns the memory of the GPU in bytes, or without a GPU the memory that the process may use."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[1]
    limits = [resource.getrlimit(limit)[0] for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return min([os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'),
                *(limit for limit in limits if limit != resource.RLIM_INFINITY)])
