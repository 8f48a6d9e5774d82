"""Data sets, samplers and transforms that OpenMMLab lacks; importing this package registers them."""
from .resize_by_orientation import ResizeByOrientation
from .resize_to_cover import ResizeToCover
from .resumable import ResumableBatchSampler, SeededDataset
from .token_label_maps import LoadTokenLabels, PoolTokenLabels, TransformWithTokenLabels

__all__ = ['LoadTokenLabels', 'PoolTokenLabels', 'ResizeByOrientation', 'ResizeToCover', 'ResumableBatchSampler',
           'SeededDataset', 'TransformWithTokenLabels']
