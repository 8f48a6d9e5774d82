"""The arguments of a fine-tuning. Each is declared once: its options, checks and pages follow from its field.

This file imports neither torch nor MMEngine, so that the command prints its help at once.
"""
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

from .configs.precisions import PRECISIONS
from .frameworks.tasks import Task, choose_task
from .utils.limits import ABOVE_ZERO, COUNT, FRACTION, SEED, SIDE, Limits

ALL = 'all'
DATA = ('train_dataloader.dataset',
        *(f'train_dataloader.dataset.{name}' for name in ('data_root', 'ann_file', 'data_prefix')))
ENDS = 'the ends of param_scheduler'
WEIGHTS = tuple(f'model.backbone.{name}' for name in ('init_cfg', 'init_cfg.checkpoint', 'pretrained'))


def declare(default: Any = MISSING, keys: str | tuple[str, ...] = (), limits: Limits | None = None, **others: Any
            ) -> Any:
    """Returns a field of :class:`FineTuning`.

    Args:
        default (Any): Its default. Defaults to none.
        keys (str | tuple[str, ...]): Keys of a config that set the same, for an argument that is an option of `mmvit
            train` for a network and a folder. Defaults to none: the command has no such option, or one that is for
            configs, too.
        limits (Limits | None): What a value, or each of several, may be. Defaults to None: anything.
        **others: ``also``, what else must be set beside the first key; ``alias``, another option; ``metavar``, which
            stands for the value in help texts; ``one_of``, a name that options share of which one may be given;
            ``is_several``, whether there may be several values; ``without``, what the option does that begins with
            ``--no-``; ``is_compared``, whether a comparison has the argument, too; ``is_of_run``, whether it may differ
            when a training goes on.
    """
    return field(default=default, metadata=dict(keys=(keys, ) if isinstance(keys, str) else keys, limits=limits,
                                                 **others))


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """The arguments of :func:`fine_tune`, which are those of `mmvit train` for a network and a folder.

    Args:
        network (str | Mapping): A name from ``list_models()``, ``'resnet50'``, ``'timm:NAME'``, a config whose backbone
            is meant, or the config of a backbone.
        class_folder (str | None): Data for a classifier of mmpretrain: ``train/CLASS/`` and ``val/CLASS/`` with images.
        coco_folder (str | None): Data for Mask R-CNN of mmdet, or Faster R-CNN without masks:
            ``annotations/instances_{train,val}.json``, ``train/`` and ``val/``.
        seg_folder (str | None): Data for a segmenter of mmseg: ``images/{train,val}/``, ``masks/{train,val}/`` and
            ``classes.txt``.
        size (int | Sequence[int] | None): Side of the crops in pixels, for detectors the short side of the images; or
            height and width of the crops, into which a detector's images are fitted. Whole images are reduced to about
            this size before the crop. Defaults to None: 224, 800 and 512 for the three tasks.
        epochs (int | None): Length of the training. Defaults to None: 100 epochs for up to 1000 images, then less, but
            at least 12.
        iters (int | None): Length of the training in steps, which are rounded up to whole epochs. Defaults to None:
            that of ``epochs``.
        batch_size (int | None): Images per step and process. Defaults to None: 16, 2 and 4 for the three tasks.
        accumulate (int): Number of steps whose gradients are averaged for one update of the weights. Epochs and
            ``iters`` count steps, not updates. Defaults to 1.
        lr (float | None): Peak learning rate of new layers; pretrained ones have a tenth of it, at most 2e-4. From
            random weights, all layers are new. Defaults to None: 2e-3, for detectors 5e-4, for the default batch size,
            times the square root of the images per update over it, of all processes and accumulated steps, and at most
            8e-3; another one from random weights.
        freeze (int | str | None): Number of stages to freeze, together with the stem, or 'all'. Stages of a plain
            network of timm are its blocks. Defaults to None: nothing is frozen.
        pretrained (bool | str): Other weights than the published ones: a tag, a file, a URL or ``timm://NAME``; True
            means the published ones, and False random ones. Defaults to True.
        boxes_only (bool): Whether to train a detector without masks. Defaults to False.
        val_fraction (float | None): Fraction of the images for validation if the folder has no split.
        split_seed (int): Seed of the split by ``val_fraction``. Defaults to 0.
        early_stop (int | None): Number of validations without a better result after which training ends.
        ema (bool): Whether to average weights and buffers over a tenth of the steps; validation, test and prediction
            use the averages. Defaults to False.
        light (bool): Whether to train a detector, on a CPU, with a pyramid and heads of half the width, half of the
            proposals and a quarter of the samples. Defaults to False.
        seed (int | None): Seed of the training. Defaults to None: a random one.
        layer_decay (float | None): Factor of the rate from each layer to the one before it; 1 turns it off. Defaults to
            None: 0.9, and 1 from random weights.
        precision (str | None): 'float32', 'float16' or 'bfloat16'. Defaults to None: float16 where the training runs
            and MMEngine has mixed precision, as on GPUs of NVIDIA, else float32.
        compile (bool): Whether to compile the backbone for training; see
            :class:`~mmvit_backbones.engine.CompileHook`. Defaults to False.
        workers (int | None): Processes that read data, per training process. Defaults to None: 4 where the training
            runs with a GPU, else 0.
        processes (int): Number of training processes. Defaults to 1.
        work_dir (str | None): Folder of the run, which may not hold a training. Repaired annotation files and lists of
            images are written to ``recipe`` in it. Defaults to None: ``work_dirs/NETWORK_TASK``.
        check_files (bool): Whether to read all images and masks of the folder. Defaults to True.

    Raises:
        UsageError: If an argument is not within its limits, or arguments exclude each other.
    """

    network: str | Mapping[str, Any] = declare()
    class_folder: str | None = declare(None, DATA, metavar='FOLDER', one_of='folder', is_compared=True)
    coco_folder: str | None = declare(None, DATA, metavar='FOLDER', one_of='folder', is_compared=True)
    seg_folder: str | None = declare(None, DATA, metavar='FOLDER', one_of='folder', is_compared=True)
    size: int | Sequence[int] | None = declare(None, DATA, SIDE, metavar='PIXELS', is_several=True, is_compared=True)
    epochs: int | None = declare(None, 'train_cfg.max_epochs', COUNT, also=ENDS, one_of='length', is_compared=True)
    iters: int | None = declare(None, 'train_cfg.max_iters', COUNT, also=ENDS, one_of='length')
    batch_size: int | None = declare(None, 'train_dataloader.batch_size', COUNT, metavar='N', is_compared=True)
    accumulate: int = declare(1, 'optim_wrapper.accumulative_counts', COUNT, metavar='N')
    lr: float | None = declare(None, 'optim_wrapper.optimizer.lr', ABOVE_ZERO, metavar='RATE')
    freeze: int | Literal['all'] | None = declare(
        None, 'model.backbone.frozen_stages', Limits(0, words=(ALL, )), metavar='N', is_compared=True)
    pretrained: bool | str = declare(True, WEIGHTS, metavar='WEIGHTS', one_of='weights',
                                       without='start from random weights', is_compared=True)
    boxes_only: bool = declare(False, 'model.type', alias='--boxes', is_compared=True)
    val_fraction: float | None = declare(None, DATA, FRACTION, metavar='FRACTION', is_compared=True)
    split_seed: int = declare(0, DATA, SEED, metavar='SEED', is_compared=True)
    early_stop: int | None = declare(None, 'custom_hooks', COUNT, metavar='N')
    ema: bool = declare(False, 'custom_hooks')
    light: bool = declare(False, 'model.roi_head')
    seed: int | None = declare(None, limits=SEED, is_of_run=True)
    layer_decay: float | None = declare(None, 'optim_wrapper.paramwise_cfg.decay_rate',
                                        Limits(0, 1, '(]', is_whole=False), metavar='FACTOR', is_compared=True)
    precision: str | None = declare(None, limits=Limits(words=tuple(PRECISIONS)), is_of_run=True)
    compile: bool = declare(False, is_of_run=True)
    workers: int | None = declare(None, limits=Limits(0))
    processes: int = declare(1, limits=COUNT, is_of_run=True)
    work_dir: str | None = declare(None, is_of_run=True)
    check_files: bool = declare(True)

    def __post_init__(self) -> None:
        from mmvit_backbones.errors import UsageError  # whose package imports torch
        for each in fields(self):
            value, limits = getattr(self, each.name), each.metadata['limits']
            values = value if each.metadata.get('is_several') and isinstance(value, Sequence) else [value]
            if limits and value is not None and not all(map(limits.allow, values)):
                raise UsageError(f'{each.name} must be {limits}, got {value!r}')
        if self.epochs and self.iters:
            raise UsageError(f'epochs and iters are mutually exclusive, got {self.epochs} and {self.iters}')

    @property
    def data(self) -> tuple[Task, str]:
        """Returns the task and the folder of its data."""
        return choose_task(class_folder=self.class_folder, coco_folder=self.coco_folder, seg_folder=self.seg_folder)

    def list_given(self) -> dict[str, Any]:
        """Returns the arguments that differ from their defaults, which a recipe records."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) != each.default}


def with_option(name: str) -> str:
    """Returns the name of an argument with its option, for messages."""
    return f'{name} (--{name.replace("_", "-")})'


def setting_of(name: str) -> str:
    """Returns what a person sets in a config in place of an argument."""
    about = FIELDS[name].metadata
    return ' and '.join(filter(None, [about['keys'][0], about.get('also')]))


def find_difference(given: Mapping[str, Any], recorded: FineTuning) -> tuple[str, Any, Any] | None:
    """Returns the first argument that differs from the recorded ones, its recorded and its given value.

    A folder may have been moved, and one value is the list of it.
    """
    def listed(value: Any) -> list:
        return list(value) if isinstance(value, (list, tuple)) else [value]

    for name, value in given.items():
        before, about = getattr(recorded, name), FIELDS[name].metadata
        may_differ = about.get('is_of_run') or about.get('one_of') == 'folder' and before and value
        if not may_differ and listed(before) != listed(value):
            return name, before, value
    return None


FIELDS = {each.name: each for each in fields(FineTuning)}
OPTIONS = [name for name, each in FIELDS.items() if each.metadata['keys']]  # for a network and a folder alone
COMPARED = [name for name, each in FIELDS.items() if each.metadata.get('is_compared')]
