"""The closed list of what a file alone may describe: models of this package's networks, and their test pipelines.

A config in a checkpoint, or next to weights, is data. What is built from it stands in the tables below: these classes,
with numbers, booleans, None, and lists and dicts of these as arguments, and text only where a table names its values.
Anything else needs a config of the user's, which is the user's code.
"""
from collections.abc import Mapping, Sequence
from operator import index

import numpy as np

from .. import backbones
from ..utils.config import VISUALIZERS
from ..utils.file_configs import FRAMEWORKS

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

# Class -> its arguments that may be text, by their path below the class, and the values allowed.
PARTS: dict[str, dict[str, tuple[str, ...]]] = {
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
    # losses, by which the channels of some heads are counted
    'CrossEntropyLoss': dict(REDUCTION, loss_name=('loss_ce', )),
    'LabelSmoothLoss': dict(REDUCTION, mode=('original', 'classy_vision', 'multi_label')),
    'FocalLoss': REDUCTION, 'DiceLoss': REDUCTION, 'L1Loss': REDUCTION, 'SmoothL1Loss': REDUCTION,
    'GIoULoss': REDUCTION, 'MapSimilarityLoss': {}, 'KeypointMSELoss': {},
}
# The same of test pipelines.
STEPS: dict[str, dict[str, tuple[str, ...]]] = {
    'LoadImageFromFile': dict(DECODE, color_type=('color', )), 'LoadImage': {}, 'LoadAnnotations': DECODE,
    'Resize': RESIZE, 'ResizeEdge': dict(RESIZE, edge=('short', 'long', 'width', 'height')),
    'ResizeByOrientation': RESIZE, 'CenterCrop': {}, 'torchvision/CenterCrop': {}, 'NumpyToPIL': {}, 'PILToNumpy': {},
    'GetBBoxCenterScale': {}, 'TopdownAffine': {},
    'PackInputs': META_KEYS, 'PackDetInputs': META_KEYS, 'PackSegInputs': META_KEYS, 'PackPoseInputs': META_KEYS,
}
# Largest numbers, by the argument or by it and the one around it; all others, such as sides of images, are below.
MAX_NUMBER = 4096
LARGEST = {
    'num_classes': 100_000, 'num_things_classes': 100_000, 'num_stuff_classes': 100_000, 'temperature': 20_000,
    'pool_scales': 64, 'output_size': 32, 'num_points': 32, 'scales_per_octave': 32, 'rcnn.max_per_img': 300,
}
MAX_LENGTH = 256  # of lists
LONGEST = dict(class_weight=100_001)
# What a model is trained with, and where its weights and data came from: not needed for predictions.
DROPPED = ('init_cfg', 'pretrained', 'train_cfg', 'batch_augments', 'backend_args', 'file_client_args', 'teacher',
           'teacher_config', 'teacher_ckpt')
# Base classes of the frameworks' data sets.
DATASETS = dict(mmdet='BaseDetDataset', mmseg='BaseSegDataset', mmpretrain='BaseDataset', mmpose='BaseCocoStyleDataset')
MAX_CLASSES = 100_000
MAX_NAME = 200  # characters


class NotDescribedError(ValueError):
    """A file describes what is not on the list."""


def describe(config: Mapping, metainfo: Mapping) -> dict:
    """Returns what of a config from a file may be built: scope, model, and, if it has one, the test pipeline.

    Args:
        config (Mapping): Values of a whole config.
        metainfo (Mapping): The checkpoint's ``dataset_meta``.

    Raises:
        NotDescribedError: The message names what is not on the list.
    """
    scope, model = config.get('default_scope'), config.get('model')
    if scope not in FRAMEWORKS:
        raise NotDescribedError(f'default_scope={shown(scope)}; allowed are {", ".join(FRAMEWORKS)}')
    if not isinstance(model, dict) or 'type' not in model:
        raise NotDescribedError(f'model={shown(model)}, which is no dict with a type')
    if config.get('data_preprocessor') is not None:
        model = {'data_preprocessor': config['data_preprocessor'], **model}
    described = dict(default_scope=scope, model=checked(model, 'model'))
    if config.get('test_dataloader') is not None:
        steps = checked(test_pipeline(config), 'test_pipeline', STEPS)
        described['test_dataloader'] = dict(dataset=dict(metainfo=classes_in(metainfo), pipeline=steps))
    return described


def for_framework(described: dict) -> dict:
    """Returns what :func:`describe` returned with what a framework's inferencer builds besides: an empty data set."""
    scope = described['default_scope']
    completed = dict(described, visualizer=dict(type=VISUALIZERS[scope], name='visualizer'))
    if 'test_dataloader' in described:
        dataset = dict(described['test_dataloader']['dataset'], type=DATASETS[scope])
        completed['test_dataloader'] = dict(dataset=dataset)
    return completed


def test_pipeline(config: Mapping) -> list:
    """Returns the steps in the data set of ``test_dataloader``, which wrappers may be around."""
    try:
        dataset = config['test_dataloader']['dataset']
        while 'pipeline' not in dataset:
            dataset = dataset['dataset'] if 'dataset' in dataset else dataset['datasets'][0]
        return list(dataset['pipeline'])
    except (KeyError, IndexError, TypeError):
        raise NotDescribedError('its test_dataloader has no data set with a pipeline') from None


def checked(value: object, where: str, classes: Mapping = PARTS, texts: Mapping = {}, path: tuple[str, ...] = ()):
    """Returns a copy of a part of a config, without what is dropped, if all of it is on the list.

    Args:
        value (object): The part.
        where (str): Its name for errors.
        classes (Mapping): ``PARTS`` or ``STEPS``.
        texts (Mapping): Text arguments of the class around it.
        path (tuple[str, ...]): Arguments that lead from that class to the part.

    Raises:
        NotDescribedError: The message names what is not on the list.
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
            raise NotDescribedError(f'{where} has {len(value)} entries; allowed are {longest}')
        return type(value)(checked(part, f'{where}[{number}]', classes, texts, path)
                           for number, part in enumerate(value))
    if isinstance(value, str):
        values = texts.get('.'.join(path), ())
        if value not in values:
            raise NotDescribedError(f'{where}={shown(value)}; allowed are {", ".join(values) or "no texts"}')
    elif isinstance(value, (int, float)):
        largest = LARGEST.get('.'.join(path[-2:]), LARGEST.get(path[-1] if path else '', MAX_NUMBER))
        if not abs(value) <= largest:  # not a number is refused, too
            raise NotDescribedError(f'{where}={shown(value)}; allowed are numbers up to {largest}')
    elif value is not None:
        raise NotDescribedError(f'{where} is a {type(value).__name__}; allowed are numbers, lists and dicts')
    return value


def checked_argument(key: object, value: object, where: str, classes: Mapping, texts: Mapping, path: tuple[str, ...]):
    """Returns the value of one key of a dict as :func:`checked`; None if it is dropped."""
    if key == 'type':
        return value
    if not isinstance(key, str) or not key.isidentifier():
        raise NotDescribedError(f'{where} has the key {shown(key)}; allowed are names')
    return None if key in DROPPED else checked(value, f'{where}.{key}', classes, texts, (*path, key))


def class_name(name: object, where: str, classes: Mapping) -> str:
    """Returns the registered name of a class on the list, ``Name`` or ``framework.Name``, without its module."""
    first, last = (name.split('.')[0], name.split('.')[-1]) if isinstance(name, str) else (None, None)
    if last not in classes:
        raise NotDescribedError(f'{where} is made of {shown(name)}, which is not built from a file alone')
    return f'{first}.{last}' if first in FRAMEWORKS else last


# ---- names of classes


def classes_in(metainfo: Mapping) -> dict[str, list]:
    """Returns the names of classes in a checkpoint's ``dataset_meta``, their colors, and what poses are drawn by.

    Raises:
        NotDescribedError: The message names the entry that is none.
    """
    if not isinstance(metainfo, Mapping):
        raise NotDescribedError(f'dataset_meta is a {type(metainfo).__name__}; allowed is a dict')
    found = {}
    for key, convert in dict(classes=as_name, palette=as_color, flip_indices=as_number, skeleton_links=as_pair).items():
        values = metainfo.get(key)
        values = values.tolist() if isinstance(values, np.ndarray) else values
        if values is None or key == 'palette' and isinstance(values, str):  # a palette's name in a framework
            continue
        if not isinstance(values, (list, tuple)) or len(values) > MAX_CLASSES:
            raise NotDescribedError(f'dataset_meta.{key}={shown(values)}; allowed are lists of up to {MAX_CLASSES}')
        try:
            found[key] = [convert(value) for value in values]
        except (TypeError, ValueError) as error:
            raise NotDescribedError(f'dataset_meta.{key} cannot be used: {error}') from None
    return found


def as_name(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise ValueError(f'{shown(value)} is no text of up to {MAX_NAME} characters')
    return value


def as_color(value: Sequence[int]) -> tuple[int, ...]:
    red, green, blue = value
    return tuple(bytes((red, green, blue)))


def as_number(value: int) -> int:
    if not 0 <= index(value) < MAX_CLASSES:
        raise ValueError(f'{shown(value)} is not from 0 to {MAX_CLASSES - 1}')
    return index(value)


def as_pair(value: Sequence[int]) -> tuple[int, int]:
    start, end = value
    return as_number(start), as_number(end)


def shown(value: object) -> str:
    """Returns a value for a message, shortened."""
    text = repr(value) if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__
    return text if len(text) <= 80 else f'{text[:77]}...'
