"""Allowlist of the models and test pipelines that may be built from a config in an untrusted file.

The config in a checkpoint or next to weights is treated as data. Only the classes in the tables below are built from
such a config. Their arguments may be numbers, booleans, None, and lists and dicts of these; string arguments may only
have the values listed in a table. Everything else requires a config file from the user, which is trusted.
"""
from collections.abc import Mapping, Sequence
from operator import index
from typing import Any

import numpy as np

from .. import backbones
from ..utils.config import VISUALIZERS
from ..utils.file_configs import FRAMEWORKS

Texts = Mapping[str, tuple[str, ...]]

REDUCTION = dict(reduction=('none', 'mean', 'sum'))
NETWORK_TEXT = dict(
    RefinerViT=dict(out_type=('featmap', 'tokens')),
    RegionViT={'out_tokens': ('local', 'regional'), 'arch.local_embed': ('1conv', '3conv')},
    ResT=dict(out_norm=('in_stream', 'side')),
    ResTv2=dict(out_norm=('in_stream', 'side')),
    ViTAEv2={'arch.attention': ('window', 'global')},
    ViTAEv2VSA=dict(window_padding=('corner', 'center'), offset_divisor=('own_axis', 'other_axis')))
NETWORKS = {name: dict(NETWORK_TEXT.get(name, {}), arch=tuple(getattr(backbones, name).arch_zoo))
            for name in backbones.__all__ if name != 'Backbone'}
INTERPOLATIONS = 'bilinear', 'bicubic', 'nearest', 'area', 'lanczos'
RESIZE = dict(backend=('cv2', 'pillow'), interpolation=INTERPOLATIONS)
DECODE = dict(imdecode_backend=('cv2', 'pillow'))
META_KEYS = dict(meta_keys=(
    'sample_idx', 'img_id', 'img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'pad_shape', 'scale_factor', 'flip',
    'flip_direction', 'reduce_zero_label', 'ori_kp', 'input_size', 'input_center', 'input_scale', 'flip_indices'))

# Class -> paths of its string arguments -> their allowed values.
PARTS: dict[str, Texts] = {
    **NETWORKS,
    # models
    'ImageClassifier': {}, 'RetinaNet': {}, 'FasterRCNN': {}, 'MaskRCNN': {}, 'CascadeRCNN': {}, 'DINO': {},
    'Mask2Former': {}, 'EncoderDecoder': {'test_cfg.mode': ('whole', 'slide')},
    'TopdownPoseEstimator': {'test_cfg.flip_mode': ('heatmap', )},
    'ClsDataPreprocessor': {}, 'DetDataPreprocessor': {}, 'SegDataPreProcessor': {}, 'PoseDataPreprocessor': {},
    # necks
    'GlobalAveragePooling': {}, 'LayerNormPooling': dict(order=('norm_first', 'pool_first')),
    'SimpleFeaturePyramid': {}, 'Feature2Pyramid': {}, 'ChannelMapper': dict(bias=('auto', )),
    'FPN': {'add_extra_convs': ('on_input', 'on_lateral', 'on_output'), 'upsample_cfg.mode': INTERPOLATIONS},
    # heads
    'LinearClsHead': {}, 'TokenLabelHead': {}, 'RPNHead': {}, 'RetinaHead': {}, 'StandardRoIHead': {},
    'CascadeRoIHead': {}, 'SingleRoIExtractor': {}, 'Shared2FCBBoxHead': {}, 'Shared4Conv1FCBBoxHead': {},
    'ConvFCBBoxHead': {}, 'FCNMaskHead': {}, 'DINOHead': {}, 'Mask2FormerHead': {}, 'MSDeformAttnPixelDecoder': {},
    'MaskFormerFusionHead': {}, 'UPerHead': {}, 'FPNHead': {}, 'FCNHead': {}, 'HeatmapHead': {},
    # parts of heads and necks
    'AnchorGenerator': {}, 'DeltaXYWHBBoxCoder': {}, 'MSRAHeatmap': {}, 'RoIAlign': {}, 'nms': {}, 'soft_nms': {},
    'BN': {}, 'SyncBN': {}, 'GN': {}, 'LN': {}, 'ReLU': {}, 'GELU': {}, 'deconv': {},
    # losses, from which some heads derive their number of channels
    'CrossEntropyLoss': dict(REDUCTION, loss_name=('loss_ce', )),
    'LabelSmoothLoss': dict(REDUCTION, mode=('original', 'classy_vision', 'multi_label')),
    'FocalLoss': REDUCTION, 'DiceLoss': REDUCTION, 'L1Loss': REDUCTION, 'SmoothL1Loss': REDUCTION,
    'GIoULoss': REDUCTION, 'MapSimilarityLoss': {}, 'KeypointMSELoss': {},
}
# Step of a test pipeline -> paths of its string arguments -> their allowed values.
STEPS: dict[str, Texts] = {
    'LoadImageFromFile': dict(DECODE, color_type=('color', )), 'LoadImage': {}, 'LoadAnnotations': DECODE,
    'Resize': RESIZE, 'ResizeEdge': dict(RESIZE, edge=('short', 'long', 'width', 'height')),
    'ResizeByOrientation': RESIZE, 'CenterCrop': {}, 'torchvision/CenterCrop': {}, 'NumpyToPIL': {}, 'PILToNumpy': {},
    'GetBBoxCenterScale': {}, 'TopdownAffine': {},
    'PackInputs': META_KEYS, 'PackDetInputs': META_KEYS, 'PackSegInputs': META_KEYS, 'PackPoseInputs': META_KEYS,
}
# Largest allowed absolute value by the last one or two names in an argument's path; MAX_NUMBER is the default.
MAX_NUMBER = 4096
LARGEST = {
    'num_classes': 100_000, 'num_things_classes': 100_000, 'num_stuff_classes': 100_000, 'temperature': 20_000,
    'pool_scales': 64, 'output_size': 32, 'num_points': 32, 'scales_per_octave': 32, 'rcnn.max_per_img': 300,
}
MAX_LENGTH = 256  # entries of a list
LONGEST = dict(class_weight=100_001)
# Training settings, and sources of weights and data, which inference does not need.
DROPPED = ('init_cfg', 'pretrained', 'train_cfg', 'batch_augments', 'backend_args', 'file_client_args', 'teacher',
           'teacher_config', 'teacher_ckpt')
# Base classes of the frameworks' datasets.
DATASETS = dict(mmdet='BaseDetDataset', mmseg='BaseSegDataset', mmpretrain='BaseDataset', mmpose='BaseCocoStyleDataset')
MAX_CLASSES = 100_000
MAX_NAME = 200  # characters


class NotAllowedError(ValueError):
    """A config in a file contains something that is not on the allowlist."""


def allowed_parts(config: Mapping, metainfo: Mapping) -> dict:
    """Returns the allowed parts of an untrusted config: default scope, model and, if present, test pipeline.

    Args:
        config (Mapping): The whole config.
        metainfo (Mapping): The checkpoint's ``dataset_meta``.

    Raises:
        NotAllowedError: If a part is not on the allowlist; the message contains its path.
    """
    scope, model = config.get('default_scope'), config.get('model')
    if scope not in FRAMEWORKS:
        raise NotAllowedError(f'default_scope must be one of {", ".join(FRAMEWORKS)}, got {shown(scope)}')
    if not isinstance(model, dict) or 'type' not in model:
        raise NotAllowedError(f'model must be a dict with a type, got {shown(model)}')
    if config.get('data_preprocessor') is not None:
        model = {'data_preprocessor': config['data_preprocessor'], **model}
    allowed: dict = dict(default_scope=scope, model=checked(model, 'model'))
    if config.get('test_dataloader') is not None:
        steps = checked(test_pipeline(config), 'test_pipeline', STEPS)
        allowed['test_dataloader'] = dict(dataset=dict(metainfo=classes_in(metainfo), pipeline=steps))
    return allowed


def complete_for_inferencer(config: dict) -> dict:
    """Adds what a framework's inferencer needs to the result of :func:`allowed_parts`: a visualizer, a dataset type."""
    scope = config['default_scope']
    completed = {**config, 'visualizer': dict(type=VISUALIZERS[scope], name='visualizer')}
    if 'test_dataloader' in config:
        dataset = dict(config['test_dataloader']['dataset'], type=DATASETS[scope])
        completed['test_dataloader'] = dict(dataset=dataset)
    return completed


def test_pipeline(config: Mapping) -> list:
    """Returns the pipeline of the test dataset, which may be inside dataset wrappers."""
    try:
        dataset = config['test_dataloader']['dataset']
        while 'pipeline' not in dataset:
            dataset = dataset['dataset'] if 'dataset' in dataset else dataset['datasets'][0]
        return list(dataset['pipeline'])
    except (KeyError, IndexError, TypeError):
        raise NotAllowedError('test_dataloader has no dataset with a pipeline') from None


def checked(value: object, where: str, classes: Mapping[str, Texts] = PARTS, texts: Texts = {},
            path: tuple[str, ...] = ()) -> Any:
    """Checks a part of a config against the allowlist; returns a copy with the arguments in ``DROPPED`` set to None.

    Args:
        value (object): The part of the config.
        where (str): Path of the part, for error messages.
        classes (Mapping): The allowed classes, ``PARTS`` or ``STEPS``.
        texts (Mapping): Allowed string arguments of the enclosing class.
        path (tuple[str, ...]): Argument names that lead from the enclosing class to the part.

    Raises:
        NotAllowedError: If a part is not on the allowlist; the message contains its path.
    """
    if isinstance(value, dict):
        if 'type' in value:
            value = dict(value, type=class_name(value['type'], where, classes))
            texts, path = classes[value['type'].rpartition('.')[2]], ()
        return {key: checked_argument(key, part, where, classes, texts, path) for key, part in value.items()
                if key != '_scope_'}
    if isinstance(value, (list, tuple)):
        longest = LONGEST.get(path[-1] if path else '', MAX_LENGTH)
        if len(value) > longest:
            raise NotAllowedError(f'{where} has {len(value)} entries; the maximum is {longest}')
        return type(value)(checked(part, f'{where}[{number}]', classes, texts, path)
                           for number, part in enumerate(value))
    if isinstance(value, str):
        values = texts.get('.'.join(path), ())
        if value not in values:
            raise NotAllowedError(f'{where}={shown(value)}; allowed: {", ".join(values) or "no strings"}')
    elif isinstance(value, (int, float)):
        largest = LARGEST.get('.'.join(path[-2:]), LARGEST.get(path[-1] if path else '', MAX_NUMBER))
        if not abs(value) <= largest:  # also refuses nan
            raise NotAllowedError(f'{where}={shown(value)}; allowed: numbers from -{largest} to {largest}')
    elif value is not None:
        raise NotAllowedError(f'{where} must be a number, list, dict or None, got {type(value).__name__}')
    return value


def checked_argument(key: object, value: object, where: str, classes: Mapping[str, Texts], texts: Texts,
                     path: tuple[str, ...]):
    """Returns the checked value of a key in a dict, or None if the key is in ``DROPPED``; see :func:`checked`."""
    if key == 'type':
        return value
    if not isinstance(key, str) or not key.isidentifier():
        raise NotAllowedError(f'{where} has the key {shown(key)}; keys must be identifiers')
    return None if key in DROPPED else checked(value, f'{where}.{key}', classes, texts, (*path, key))


def class_name(name: object, where: str, classes: Mapping) -> str:
    """Returns the registered name of an allowed class, ``Name`` or ``framework.Name``, without its module path."""
    if not isinstance(name, str) or name.split('.')[-1] not in classes:
        raise NotAllowedError(f'{where}.type={shown(name)} is not on the list of classes that may be built from '
                              'an untrusted file')
    first, last = name.split('.')[0], name.split('.')[-1]
    return f'{first}.{last}' if first in FRAMEWORKS else last


# ---- metadata of the dataset


def classes_in(metainfo: Mapping) -> dict[str, list]:
    """Returns the names and colors of the classes, and a pose's flip indices and skeleton, in ``dataset_meta``.

    Raises:
        NotAllowedError: If an entry is invalid; the message contains its key.
    """
    if not isinstance(metainfo, Mapping):
        raise NotAllowedError(f'dataset_meta must be a dict, got {type(metainfo).__name__}')
    found = {}
    for key, convert in dict(classes=as_name, palette=as_color, flip_indices=as_number, skeleton_links=as_pair).items():
        values = metainfo.get(key)
        values = values.tolist() if isinstance(values, np.ndarray) else values
        if values is None or key == 'palette' and isinstance(values, str):  # the name of a palette
            continue
        if not isinstance(values, (list, tuple)) or len(values) > MAX_CLASSES:
            raise NotAllowedError(f'dataset_meta.{key} must be a list of up to {MAX_CLASSES} entries, got '
                                  f'{shown(values)}')
        try:
            found[key] = [convert(value) for value in values]
        except (TypeError, ValueError) as error:
            raise NotAllowedError(f'dataset_meta.{key} has an invalid entry: {error}') from None
    return found


def as_name(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise ValueError(f'{shown(value)} is not a string of up to {MAX_NAME} characters')
    return value


def as_color(value: Sequence[int]) -> tuple[int, ...]:
    red, green, blue = value
    return tuple(bytes((red, green, blue)))


def as_number(value: int) -> int:
    if not 0 <= index(value) < MAX_CLASSES:
        raise ValueError(f'{shown(value)} is not between 0 and {MAX_CLASSES - 1}')
    return index(value)


def as_pair(value: Sequence[int]) -> tuple[int, int]:
    start, end = value
    return as_number(start), as_number(end)


def shown(value: object) -> str:
    """Returns a shortened representation of a value for error messages."""
    text = repr(value) if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__
    return text if len(text) <= 80 else f'{text[:77]}...'
