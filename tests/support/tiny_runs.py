"""Tiny training runs with MMEngine's runner, in the test's own process."""
import signal
from itertools import count

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import Dataset

from mmvit.running.runners import runner_type

CLASSES = 'cat', 'dog'
NUMBERS = count()  # MMEngine shares loggers, message hubs and visualizers of runners with the same name


@DATASETS.register_module()
class Samples(Dataset):
    """Numbers with random noise."""

    def __init__(self, length: int = 8, classes: tuple[str, ...] = CLASSES) -> None:
        self.length, self.metainfo = length, dict(classes=classes)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        return dict(x=index + torch.rand(1))


class Line(BaseModel):
    """A linear layer whose loss is random."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)
        for parameter in self.parameters():
            torch.nn.init.ones_(parameter)

    def forward(self, x, mode='loss'):
        y = self.linear(torch.stack(list(x)))
        return dict(loss=(y - torch.rand(1)).square().mean()) if mode == 'loss' else [BaseDataElement()]


class Sender(Hook):
    """Sends a signal to this process before a training step."""

    def __init__(self, number: int, step: int) -> None:
        self.number, self.step = number, step

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.step:
            assert signal.getsignal(self.number) not in (signal.SIG_DFL, signal.default_int_handler)
            signal.raise_signal(self.number)


def loader_of(batch_size: int = 2, sampler: str = 'DefaultSampler', num_workers: int = 0, **dataset) -> dict:
    """Returns the config of a data loader of :class:`Samples`; with workers, they stay alive and read ahead."""
    workers = dict(num_workers=num_workers, persistent_workers=True, prefetch_factor=3) if num_workers else {}
    return dict(batch_size=batch_size, dataset=dict(type='Samples', **dataset), sampler=dict(type=sampler), **workers)


def runner_of(work_dir, kind: str = 'Runner', **changes) -> Runner:
    """Returns the runner of a training of three epochs of four steps, with our hooks; ``changes`` are arguments."""
    arguments = dict(
        model=Line(), work_dir=str(work_dir), train_dataloader=loader_of(),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook')),
        custom_hooks=[dict(type='ExactResumeHook'), dict(type='InterruptHook')], randomness=dict(seed=1),
        experiment_name=f'tiny{next(NUMBERS)}')
    arguments.update(changes)
    plain = 'train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'resume', 'load_from'
    cfg = dict(model={}, **{name: arguments[name] for name in plain if name in arguments})
    return runner_type(kind)(**arguments, cfg=cfg)


def log_of(work_dir) -> str:
    return '\n'.join(path.read_text() for path in sorted(work_dir.glob('*/*.log')))
