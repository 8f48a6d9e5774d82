"""Data sets, samplers and transforms that OpenMMLab lacks; importing this package registers them."""
from .resize_by_orientation import ResizeByOrientation
from .resumable import ResumableBatchSampler, SeededDataset
from .token_label_maps import LoadTokenLabels, PoolTokenLabels, TransformWithTokenLabels

__all__ = ['LoadTokenLabels', 'PoolTokenLabels', 'ResizeByOrientation', 'ResumableBatchSampler', 'SeededDataset',
           'TransformWithTokenLabels']
