"""Checks what a run uses before its first step: settings, data, backbone, checkpoints, classes and a step."""
import os.path as osp
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.dist import get_world_size
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, FUNCTIONS, METRICS, MODELS
from mmengine.runner import FlexibleRunner, Runner, find_latest_checkpoint
from torch import Tensor, nn

from mmvit_backbones.engine.atomic import PREFIX
from mmvit_backbones.engine.hooks.finite_loss import state_of
from mmvit_backbones.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    MMViTError,
    UnreadCheckpointError,
    UsageError,
)
from mmvit_backbones.utils.classes import check_labels, classes_of, shown
from mmvit_backbones.utils.file_access import check_outputs
from mmvit_backbones.utils.openmmlab_models import unwrap_model
from mmvit_backbones.zoo.config_weights import build_on_meta, is_readable, load_pretrained, try_to_read
from mmvit_backbones.zoo.loading import check_finite, check_overlap, load_weights, read_checkpoint, read_state

from ..folders.data_set_files import check_data, paths_of
from ..utils.config_files import datasets_of, metrics_of
from ..utils.devices import has_mixed_precision
from ..utils.frameworks import build_dataset, quiet, use_framework
from .settings import check_settings, named, why

AnyRunner = Runner | FlexibleRunner
SIDE = 128  # pixels of the longer side of the images of a checked step
TRAINING_STATE = {'meta', 'message_hub', 'optimizer'}


def check_run(cfg: Config, takes_step: bool = False, processes: int = 1, checks_data: bool = True) -> None:
    """Checks what a training will use: the files and annotations of its data, the backbone and the checkpoints.

    Args:
        cfg (Config): Config of the run, such as those of :func:`training_config`.
        takes_step (bool): Whether to compute the loss of a training sample too, on the CPU, with images reduced to
            about 128 pixels. Defaults to False.
        processes (int): Number of processes. Defaults to 1.
        checks_data (bool): Whether to check the data, too; ``fine_tune`` has done so. Defaults to True.

    Raises:
        UsageError: If the data, the backbone or its weights are unusable, or parts of the model do not fit.
        CheckpointError: If ``load_from`` cannot be read.
    """
    if cfg.optim_wrapper.get('type') == 'AmpOptimWrapper' and not has_mixed_precision():
        raise UsageError(f'optim_wrapper is AmpOptimWrapper, but MMEngine has no mixed precision on {get_device()}; '
                         "in a copy of the config, set optim_wrapper=dict(type='OptimWrapper') without loss_scale and "
                         'dtype')
    if cfg.get('strategy') and cfg.get('launcher', 'none') == 'none' and processes == 1:
        raise UsageError('--strategy fsdp needs several processes: use --processes N or --launcher')
    if cfg.get('strategy') and any(hook.get('type') == 'EMAHook' for hook in cfg.get('custom_hooks') or []):
        raise UsageError('EMAHook (--ema) averages whole weights, and --strategy fsdp shards them; use one of them')
    check_settings(cfg)
    if checks_data:
        check_data(cfg, ['train', 'val'])
    if backbone := build_on_meta(cfg):
        try:
            load_pretrained(backbone)
        except UsageError as error:
            raise UsageError(f'{error} (for a network and a folder: --no-pretrained)') from error
    if takes_step:
        if cfg.get('load_from'):
            try_to_read(cfg.load_from)  # elsewhere, training reads it before the first step
        check_step(cfg)


# ---- a step of the model, on the CPU


def check_step(cfg: Config) -> None:
    """Builds the model and the training data of a config on the CPU, and computes one loss.

    Raises:
        UsageError: If the model fails; the message names the layer and, where channels do not fit, both numbers.
    """
    use_framework(cfg.default_scope)
    dataset = first_sample(cfg, 'train')
    if cfg.get('val_dataloader'):
        first_sample(cfg, 'val')
    if not len(dataset):
        raise UsageError('train_dataloader.dataset is empty; filter_cfg may have removed all images')
    for metric in metrics_of(cfg, 'val'):
        with named('val_evaluator'), quiet():
            METRICS.build(metric)
    preprocessor = dict(data_preprocessor=cfg.data_preprocessor) if cfg.get('data_preprocessor') else {}
    try:
        model: Any = revert_sync_batchnorm(MODELS.build(ConfigDict({**preprocessor, **cfg.model}))).train()
    except MMViTError:
        raise
    except Exception as error:  # models can fail in any way
        raise UsageError(f'the model cannot be built: {why(error)}') from error
    check_heads(model, dataset)
    collate = dict(cfg.train_dataloader.get('collate_fn') or dict(type='pseudo_collate'))
    function: Any = FUNCTIONS.get(str(collate.pop('type'))) or pseudo_collate
    batch = function([dataset[0], dataset[0]], **collate)
    inputs = None
    try:
        data: Any = model.data_preprocessor(batch, training=True)
        if cfg.default_scope != 'mmpretrain':  # classifiers may require their image size
            data = reduced(data)
        inputs = data['inputs']
        with torch.no_grad():
            model(**data, mode='loss')
    except MMViTError:
        raise
    except Exception as error:  # models can fail in any way
        raise UsageError(explain(cfg, model, inputs, error)) from error


def first_sample(cfg: Config, split: str) -> Any:
    """Returns the data set of a split after reading its first sample, if there is one."""
    with named(f'{split}_dataloader.dataset'), quiet():  # data sets may be read only with the first sample
        dataset = build_dataset(cfg, split)
        if len(dataset):
            dataset[0]
    return dataset


def check_heads(model: nn.Module, dataset: Any) -> None:
    """Raises UsageError if a head has fewer classes than the data, but more than one, such as objectness."""
    names = classes_of(getattr(dataset, 'metainfo', None))
    for name, module in model.named_modules():
        count = getattr(module, 'num_classes', None)
        if name and isinstance(count, int) and 1 < count < len(names):
            raise UsageError(f'model.{name}.num_classes is {count}, but the training data have {len(names)} classes: '
                             f'{shown(names)}')


def explain(cfg: Config, model: nn.Module, inputs: Any, error: Exception) -> str:
    """Returns a line about the layer in which a model failed, with the channels of its part and of the backbone."""
    names = {module: name for name, module in model.named_modules() if name}
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [values for values in frames if isinstance(values.get('self'), nn.Module) and values['self'] in names]
    if not inside:
        return f'the model fails in a training step: {why(error)}'
    name = names[inside[-1]['self']]
    part = name.split('.')[0]
    setting = part_setting(cfg, part)
    about = f'; model.{part}.{setting[0]} is {setting[1]}' if setting else ''
    if inputs is not None and part != 'backbone' and hasattr(model, 'backbone'):
        with torch.no_grad():
            maps = model.get_submodule('backbone')(inputs)
        about += f', and the backbone has maps with {[x.shape[1] for x in maps if isinstance(x, Tensor)]} channels'
    return f'model.{name} fails in a training step: {why(error)}{about}'


def part_setting(cfg: Config, part: str) -> tuple[str, Any] | None:
    """Returns the setting of a part of a model that states its input channels."""
    node = cfg.model.get(part)
    node = node[0] if isinstance(node, list) and node else node
    return next(((key, node[key]) for key in ('in_channels', 'in_features', 'embed_dim', 'embed_dims')
                 if isinstance(node, dict) and key in node), None)


def reduced(data: dict) -> dict:
    """Returns a batch whose images, boxes and masks of objects are reduced to about 128 pixels.

    The losses of mmseg's segmenters take masks of any size.
    """
    images = data['inputs']
    if not isinstance(images, Tensor) or images.ndim != 4 or max(images.shape[2:]) <= SIDE:
        return data
    height, width = (max(32, round(side * SIDE / max(images.shape[2:]) / 32) * 32) for side in images.shape[2:])
    scale = width / images.shape[3], height / images.shape[2]
    for sample in data.get('data_samples') or []:
        sample.set_metainfo(dict.fromkeys(('img_shape', 'pad_shape', 'batch_input_shape'), (height, width)))
        for name in ('gt_instances', 'ignored_instances'):
            found = sample.get(name, {})
            if isinstance(boxes := found.get('bboxes'), Tensor):
                found.bboxes = boxes * boxes.new_tensor([*scale, *scale])
            if 'masks' in found:
                found.masks = found.masks.resize((height, width))
    return {**data, 'inputs': F.interpolate(images, size=(height, width), mode='area')}


# ---- what a test writes


def check_test_outputs(cfg: Config) -> None:
    """Raises UsageError if a test would write over what it reads, or through a link.

    OpenMMLab writes label images and drawings into files that exist.
    """
    metrics = metrics_of(cfg, 'test')
    files = [str(metric['out_file_path']).removeprefix(PREFIX) for metric in metrics if metric.get('out_file_path')]
    check_outputs('out (--out)', files, [cfg.filename, cfg.get('load_from'), *(
        path for dataset in datasets_of(cfg, 'test') for path in paths_of(dataset))])
    shown = {'out (--out)': [metric['output_dir'] for metric in metrics if metric.get('output_dir')],
             'show_dir (--show-dir)': [folder_of_drawings(cfg)]}
    existing = {name: [path for folder in folders if osp.isdir(folder) for path in Path(folder).iterdir()]
                for name, folders in shown.items()}
    if not any(existing.values()):
        return
    read = list(files_of(cfg, 'test'))
    for name, paths in existing.items():
        check_outputs(name, paths, read)
        if links := [path for path in paths if path.is_symlink() and path.is_file()]:
            raise UsageError(f'{name}: {links[0]} is a link, and what it points to could be replaced; choose another '
                             'folder')


def folder_of_drawings(cfg: Config) -> str:
    """Returns the folder of a test's drawings, which mmdet puts into that of the log; empty for none."""
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    save_dir = (cfg.get('visualizer') or {}).get('save_dir')
    if hook.get('draw') and save_dir:  # of mmseg
        return osp.join(save_dir, 'vis_data', 'vis_image')
    return hook.get('test_out_dir') or hook.get('enable') and hook.get('out_dir') or ''


def files_of(cfg: Config, split: str) -> Iterator[str]:
    """Yields the images and masks of a split's data."""
    use_framework(cfg.default_scope)
    for part in datasets_of(cfg, split):
        with quiet():  # pycocotools prints its steps
            dataset: Any = DATASETS.build(dict(part, pipeline=[]))
        yield from files_in(dataset)


def files_in(dataset: Any) -> Iterator[str]:
    """Yields the images and masks of a data set."""
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        yield from (info[key] for key in ('img_path', 'seg_map_path') if info.get(key))


# ---- a runner, before it starts


def check_batches(runner: AnyRunner) -> None:
    """Raises UsageError if an epoch has no batch; MMEngine's schedulers would fail."""
    loader: Any = runner.train_dataloader
    if not len(loader.dataset):
        raise UsageError(f'the training data set {type(loader.dataset).__name__} is empty; filter_cfg may have removed '
                         'all images')
    if not len(loader):
        images, batch_size = len(loader.dataset) // get_world_size(), loader.batch_sampler.batch_size
        raise UsageError(f'train_dataloader.batch_size must be at most {images}, the number of training images per '
                         f'process, because this config drops incomplete batches; got {batch_size}')


def check_start(runner: AnyRunner, cfg: Config) -> None:
    """Raises CheckpointError if a run cannot resume, or start from ``load_from``, because of the checkpoint."""
    path = cfg.get('load_from') or (find_latest_checkpoint(cfg.work_dir) if cfg.get('resume') else None)
    if not path or not is_readable(path):
        return
    if cfg.get('resume'):
        folder = None if cfg.get('load_from') else cfg.work_dir
        load_weights(model_of(runner), read_to_resume(path, folder)['state_dict'], path, strict=True)
    else:
        weights = read_state(path)['state_dict']
        check_overlap(model_of(runner), weights, path)  # as MMEngine will load them
        check_finite(weights, path)


def read_to_resume(path: str, folder: str | None = None) -> dict:
    """Reads a checkpoint, whose tensors are read and checked too.

    Args:
        path (str): The checkpoint.
        folder (str | None): Where others are looked for. Defaults to None: its folder.

    Raises:
        UsageError: If it has no training state.
        CheckpointError: If it cannot be read, or has NaN or inf; the message names the newest one that can be resumed.
    """
    try:
        checkpoint = read_checkpoint(path)
        check_finite(state_of(checkpoint), path)
    except (CheckpointNotFoundError, UnreadCheckpointError):  # the file is not known to be invalid
        raise
    except CheckpointError as error:
        others = [other for other in _newest_first(folder or Path(path).parent) if other != Path(path)]
        good = next((other for other in others if _can_be_resumed(other)), None)
        remedy = (f'the newest one that can be resumed: --resume {good}' if good else
                  'no other checkpoint in its folder can be resumed; start a new run without --resume')
        raise type(error)(f'{error}; {remedy}') from error
    if not TRAINING_STATE <= checkpoint.keys():
        raise UsageError(f'checkpoint {path} has no training state to resume; use load_from={path} to start from its '
                         'weights')
    return checkpoint


def _newest_first(folder: str | Path) -> list[Path]:
    """Returns the checkpoints of a folder, except copies of the best one."""
    paths = [path for path in Path(folder).glob('*.pth') if not path.name.startswith('best_')]
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _can_be_resumed(path: Path) -> bool:
    try:
        checkpoint = read_checkpoint(str(path))
        check_finite(state_of(checkpoint), str(path))
    except CheckpointError:
        return False
    return TRAINING_STATE <= checkpoint.keys()


def warn_of_others(runner: AnyRunner, cfg: Config) -> None:
    """Warns of checkpoints of another training in the work dir of a new one."""
    others = sorted(path.name for path in Path(cfg.work_dir).glob('*.pth'))
    if others and not cfg.get('resume'):
        runner.logger.warning(f'work dir {cfg.work_dir} has checkpoints of another training, such as {others[0]}; '
                              'those of the same names will be replaced. To go on with that training, use --resume; to '
                              'keep it, another --work-dir')


def check_tested(dataset: Any, checkpoint: dict, source: str) -> None:
    """Raises UsageError if a label means one class in the checkpoint and another in the test data."""
    meta = (checkpoint.get('meta') or {}).get('dataset_meta')
    check_labels(classes_of(meta), classes_of(getattr(dataset, 'metainfo', None)), f'checkpoint {source}',
                 'the test data', 'test on data with the same classes in the same order, or set their names in '
                 'test_dataloader.dataset.metainfo.classes')


def model_of(runner: AnyRunner) -> nn.Module:
    """Returns the model of a runner without wrappers; ``FlexibleRunner`` builds its own later, so this is another."""
    model: Any = runner.model
    return unwrap_model(model) if isinstance(model, nn.Module) else MODELS.build(model)
