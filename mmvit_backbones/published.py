"""Published results by config: what the authors state, beside the top-1 accuracies in ``zoo.py``. None is measured.

A figure stands in the repository of its family (``Family.code``) unless its entry names another ``source``.
"""

from .zoo import parse_config_name

# Key of a figure -> task, data set and metric of the metafiles.
METRICS = {
    'top1': ('Image Classification', 'ImageNet-1k', 'published Top 1 Accuracy'),
    'top5': ('Image Classification', 'ImageNet-1k', 'published Top 5 Accuracy'),
    'top1_22k': ('Image Classification', 'ImageNet-1k', 'published Top 1 Accuracy after ImageNet-22k'),
    'top5_22k': ('Image Classification', 'ImageNet-1k', 'published Top 5 Accuracy after ImageNet-22k'),
    'real': ('Image Classification', 'ImageNet-ReaL', 'published ReaL Accuracy'),
    'real_22k': ('Image Classification', 'ImageNet-ReaL', 'published ReaL Accuracy after ImageNet-22k'),
    'box': ('Object Detection', 'COCO', 'published box AP'),
    'mask': ('Instance Segmentation', 'COCO', 'published mask AP'),
    'ade20k': ('Semantic Segmentation', 'ADE20K', 'published mIoU'),
    'ade20k_ms': ('Semantic Segmentation', 'ADE20K', 'published mIoU with several scales and flips'),
    'cityscapes': ('Semantic Segmentation', 'Cityscapes', 'published mIoU'),
}
_LATER = 'quoted by later papers; how it was trained is not known'

RESULTS = {
    # ImageNet: other metrics, sizes and pre-training
    'imagenet_vitae_t': dict(top5=92.7, real=82.9),
    'imagenet_vitae_6m': dict(top5=94.1, real=84.9),
    'imagenet_vitae_s': dict(top5=95.9, real=87.0),
    'imagenet_vitae_b': dict(real=89.4, top1_22k=84.8, real_22k=89.9),
    'imagenet_vitae_l': dict(real=90.3, top1_22k=87.5, real_22k=90.8),
    'imagenet_vitae_h': dict(real=90.6, top1_22k=88.0, real_22k=90.7),
    'imagenet_vitaev2_s': dict(top5=96.2, real=87.6),
    'imagenet_vitaev2_s_real': dict(real=87.6),
    'imagenet_vitaev2_48m': dict(top5=96.6, real=88.4),
    'imagenet_vitaev2_b': dict(top5=96.9, real=88.7),
    'imagenet_vitaev2_b_22k': dict(top1_22k=86.1, top5_22k=97.9, real_22k=89.9),
    'imagenet_vitaev2_s_window': dict(top5=96.1, real=87.5),
    'imagenet_vitaev2_vsa_48m': dict(top1_22k=84.9),
    'imagenet_vitaev2_vsa_b': dict(top1_22k=86.2),
    'imagenet_rest_lite': dict(top5=93.7),
    'imagenet_rest_s': dict(top5=94.9),
    'imagenet_rest_b': dict(top5=95.7),
    'imagenet_rest_l': dict(top5=96.3),
    'imagenet_restv2_t_384': dict(top1=83.7),
    'imagenet_restv2_s_384': dict(top1=84.5),
    'imagenet_restv2_b_384': dict(top1=85.1),
    'imagenet_restv2_l_384': dict(top1=85.4),
    'imagenet_refiner_vit_s_384': dict(top1=84.6),
    'imagenet_refiner_vit_m_384': dict(top1=85.6),
    'imagenet_refiner_vit_l_384': dict(top1=85.8),
    'imagenet_refiner_vit_l_448': dict(top1=86.0),
    # Mask R-CNN
    'mask_rcnn_vitaev2_s': dict(box=46.3, mask=41.8),
    'mask_rcnn_vitaev2_s_3x': dict(box=47.8, mask=42.6),
    'mask_rcnn_vitaev2_s_window': dict(box=43.5, mask=39.4),
    'mask_rcnn_vitaev2_s_window_3x': dict(box=44.7, mask=40.0),
    'mask_rcnn_vitaev2_vsa_s': dict(box=45.9, mask=41.4),
    'mask_rcnn_vitaev2_vsa_s_3x': dict(box=48.1, mask=42.9),
    'mask_rcnn_vitaev2_vsa_48m_3x': dict(box=49.9, mask=44.2),
    'mask_rcnn_swin_vsa_t': dict(box=45.6, mask=41.4),
    'mask_rcnn_swin_vsa_t_3x': dict(box=47.5, mask=42.8),
    'mask_rcnn_regionvit_s': dict(box=42.5, mask=39.5),
    'mask_rcnn_regionvit_s_3x': dict(box=46.3, mask=42.3),
    'mask_rcnn_regionvit_s_plus': dict(box=43.5, mask=40.4),
    'mask_rcnn_regionvit_s_plus_3x': dict(box=47.3, mask=43.4),
    'mask_rcnn_regionvit_s_plus_peg': dict(box=44.2, mask=40.8),
    'mask_rcnn_regionvit_s_plus_peg_3x': dict(box=47.6, mask=43.4),
    'mask_rcnn_regionvit_b': dict(box=43.5, mask=40.1),
    'mask_rcnn_regionvit_b_3x': dict(box=47.2, mask=43.0),
    'mask_rcnn_regionvit_b_plus': dict(box=44.5, mask=41.0),
    'mask_rcnn_regionvit_b_plus_3x': dict(box=48.1, mask=43.5),
    'mask_rcnn_regionvit_b_plus_peg': dict(box=45.4, mask=41.6),
    'mask_rcnn_regionvit_b_plus_peg_3x': dict(box=48.3, mask=43.5),
    'mask_rcnn_regionvit_b_plus_peg_dagger': dict(box=46.3, mask=42.4),
    'mask_rcnn_regionvit_b_plus_peg_dagger_3x': dict(box=49.2, mask=44.5),
    'mask_rcnn_rest_s': dict(box=39.6, mask=37.2),
    'mask_rcnn_rest_b': dict(box=41.6, mask=38.7),
    'mask_rcnn_restv2_t': dict(box=47.6, mask=43.2),
    'mask_rcnn_restv2_s': dict(box=48.1, mask=43.3),
    'mask_rcnn_restv2_b': dict(box=48.7, mask=43.9),
    # Cascade Mask R-CNN
    'cascade_mask_rcnn_vitaev2_s': dict(box=50.6, mask=43.6),
    'cascade_mask_rcnn_vitaev2_s_3x': dict(box=51.4, mask=44.5),
    'cascade_mask_rcnn_vitaev2_s_window': dict(box=47.3, mask=40.6),
    'cascade_mask_rcnn_vitaev2_s_window_3x': dict(box=48.0, mask=41.3),
    'cascade_mask_rcnn_vitaev2_vsa_s': dict(box=49.8, mask=43.0),
    'cascade_mask_rcnn_vitaev2_vsa_s_3x': dict(box=51.9, mask=44.8),
    'cascade_mask_rcnn_vitaev2_vsa_48m_3x': dict(box=52.9, mask=45.6),
    # RetinaNet
    'retinanet_regionvit_s': dict(box=42.2),
    'retinanet_regionvit_s_3x': dict(box=45.8),
    'retinanet_regionvit_s_plus': dict(box=43.1),
    'retinanet_regionvit_s_plus_3x': dict(box=46.9),
    'retinanet_regionvit_s_plus_peg': dict(box=43.9),
    'retinanet_regionvit_s_plus_peg_3x': dict(box=46.7),
    'retinanet_regionvit_b': dict(box=43.3),
    'retinanet_regionvit_b_3x': dict(box=46.1),
    'retinanet_regionvit_b_plus': dict(box=44.2),
    'retinanet_regionvit_b_plus_3x': dict(box=46.9),
    'retinanet_regionvit_b_plus_peg': dict(box=44.6),
    'retinanet_regionvit_b_plus_peg_3x': dict(box=46.9),
    'retinanet_regionvit_b_plus_peg_dagger': dict(box=46.1),
    'retinanet_regionvit_b_plus_peg_dagger_3x': dict(box=48.2),
    'retinanet_rest_s': dict(box=40.3),
    'retinanet_rest_b': dict(box=42.0),
    # Segmentation
    'upernet_vitaev2_s': dict(ade20k=44.95, ade20k_ms=47.98),
    'upernet_vitaev2_s_window_cityscapes': dict(cityscapes=80.1),
    'upernet_vitaev2_s_window_cityscapes_80k': dict(cityscapes=80.8),
    'upernet_vitaev2_s_window_cityscapes_769': dict(cityscapes=79.6),
    'upernet_vitaev2_vsa_s_cityscapes': dict(cityscapes=81.4),
    'upernet_restv2_t': dict(ade20k_ms=47.3),
    'upernet_restv2_s': dict(ade20k_ms=49.2),
    'upernet_restv2_b': dict(ade20k_ms=49.6),
    'semantic_fpn_regionvit_s_plus': dict(ade20k=45.3, source=_LATER),
    'semantic_fpn_regionvit_b_plus': dict(ade20k=47.5, source=_LATER),
}

# Kernels and GB of the authors' implementations: batch 64, 224 x 224, bfloat16, counted as by measure.count_traffic.
AUTHORS_TRAFFIC = {
    'reswin_tiny': dict(forward=dict(kernels=333, gb=14.41), step=dict(kernels=815, gb=38.13)),
    'remvitv2_tiny': dict(forward=dict(kernels=592, gb=20.24), step=dict(kernels=1255, gb=59.45)),
    'revit_base': dict(forward=dict(kernels=254, gb=18.79), step=dict(kernels=740, gb=60.11)),
    'rest_lite': dict(forward=dict(kernels=189, gb=5.4), step=dict(kernels=532, gb=15.3)),
    'rest_small': dict(forward=dict(kernels=277, gb=6.68), step=dict(kernels=768, gb=18.95)),
    'rest_base': dict(forward=dict(kernels=277, gb=9.64), step=dict(kernels=768, gb=27.48)),
    'restv2_tiny': dict(forward=dict(kernels=286, gb=8.98), step=dict(kernels=765, gb=24.46)),
    'restv2_small': dict(forward=dict(kernels=430, gb=12.09), step=dict(kernels=1143, gb=32.92)),
    'regionvit_tiny': dict(forward=dict(kernels=567, gb=10.78), step=dict(kernels=1755, gb=37.12)),
    'regionvit_small': dict(forward=dict(kernels=567, gb=16.16), step=dict(kernels=1755, gb=55.7)),
    'vitae_tiny': dict(forward=dict(kernels=316, gb=8.76), step=dict(kernels=850, gb=24.01)),
    'vitaev2_small': dict(forward=dict(kernels=517, gb=17.75), step=dict(kernels=1381, gb=51.36)),
    'vitaev2_vsa_small': dict(forward=dict(kernels=929, gb=23.69), step=dict(kernels=2460, gb=63.87)),
    'vitae_base': dict(forward=dict(kernels=306, gb=23.62), step=dict(kernels=878, gb=71.88)),
    'refiner_vit_small_plain': dict(forward=dict(kernels=444, gb=39.85), step=dict(kernels=1169, gb=107.23)),
}


def published_figures(name: str) -> dict[str, float]:
    """What is published of a config, by the keys of ``METRICS``."""
    found = dict(RESULTS.get(name, {}))
    task, variant, differences = parse_config_name(name)
    if task == 'imagenet' and not differences and variant.top1 is not None:
        found['top1'] = variant.top1
    elif differences == ['22k']:  # after more data, the plain config has the figures
        found = {**RESULTS.get(name.removesuffix('_22k'), {}), **found}
        found = {key: value for key, value in found.items() if key.endswith('_22k')}
    return {key: found[key] for key in METRICS if key in found}
