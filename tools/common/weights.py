"""Checks the weights that a run loads, before anything is built."""
import warnings

from mmvit_backbones.backbones import Backbone
from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.utils.file_configs import dicts_in
from mmvit_backbones.zoo.loading import OFFICIAL, load_backbone, read_checkpoint


def check_pretrained(model: dict, backbone: Backbone | None) -> None:
    """Reads the files of a model's pretrained weights; those for ``backbone``, on the meta device, must match it."""
    of_backbone = list(dicts_in(model.backbone.get('init_cfg'))) if backbone else []
    for node in dicts_in(model):
        if node.get('type') != 'Pretrained' or not is_readable(node['checkpoint']):
            continue
        try:
            if any(node is own for own in of_backbone):
                with warnings.catch_warnings():
                    warnings.filterwarnings('ignore', '.*copying from a non-meta parameter.*', UserWarning)
                    load_backbone(backbone, node['checkpoint'], node.get('prefix'))
            else:
                check_checkpoint(node['checkpoint'])
        except CheckpointError as error:
            raise UsageError(f'pretrained weights: {error}; docs/zoo.md lists available weights, and '
                             'model.backbone.init_cfg=None starts from random ones') from error


def check_checkpoint(filename: str) -> None:
    """Checks that a checkpoint can be read; names that other loaders resolve are skipped."""
    if is_readable(filename):
        read_checkpoint(filename, mmap=True)


def is_readable(filename: str) -> bool:
    """Returns whether this package reads a checkpoint, and not a loader for names such as ``torchvision://``."""
    return '://' not in filename or filename.startswith(('http', OFFICIAL))
