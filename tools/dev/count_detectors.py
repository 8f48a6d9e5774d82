"""Counts the parameters, multiply-adds and saved bytes of a training step of detectors, without a GPU.

    python tools/dev/count_detectors.py mask_rcnn_reswin_t mask_rcnn_rest_s

Prints a row of docs/benchmarks.md per config. The bytes are those that autograd saves in the forward pass of two random
images of 800 x 1333 pixels in bfloat16, with CPU kernels, and those of weights, gradients and AdamW's two states in
float32. A GPU needs more: for results that are not saved, the allocator, and workspaces of its libraries.
"""
import sys

import torch
from mmengine.config import Config
from torch import nn

from mmvit.configs.files import read_config
from mmvit.frameworks.building import build_model
from mmvit.measuring.counters import count_macs, saved_bytes
from mmvit.measuring.whole_models import WholeModel

SIZE, IMAGES = (800, 1333), 2
BOXES, MASKS = 512, 128  # for which mmdet's heads are trained, per image, at most
BYTES_OF_PARAMETER = 16  # the weight, its gradient, and AdamW's two states in float32


def main() -> None:
    for name in sys.argv[1:]:
        cfg = read_config(name, ('model', 'optim_wrapper'))
        parameters, gmacs = count_on_meta(cfg)
        saved, states = saved_bytes_of(cfg), BYTES_OF_PARAMETER * parameters
        print(f'| `{name}` | {parameters / 1e6:.1f} | {gmacs:.0f} | {saved / 2**30:.1f} | {states / 2**30:.1f} | '
              f'{(saved + states) / 2**30:.1f} |', flush=True)


def count_on_meta(cfg: Config) -> tuple[int, float]:
    """Returns the number of parameters, and the multiply-adds of an image in units of 1e9."""
    with torch.device('meta'):
        model = build_model(cfg).eval()
        images = torch.empty(1, 3, *SIZE)

    def forward() -> None:
        maps = model.extract_feat(images)
        if not hasattr(model, 'roi_head'):
            model.bbox_head(maps)
            return
        model.rpn_head(maps)
        model.roi_head.bbox_head(maps[0].new_empty(BOXES, 256, 7, 7))
        model.roi_head.mask_head(maps[0].new_empty(MASKS, 256, 14, 14))

    return sum(parameter.numel() for parameter in model.parameters()), count_macs(forward)


def saved_bytes_of(cfg: Config) -> int:
    """Returns the bytes that autograd saves in a step."""
    torch.manual_seed(0)
    detector = WholeModel(cfg, SIZE, IMAGES, torch.device('cpu'), 'bfloat16')
    model = detector.model
    for part in 'rpn_cls', 'rpn_reg':  # mmcv's suppression of boxes has no kernel for bfloat16 on CPUs
        if isinstance(layer := getattr(getattr(model, 'rpn_head', None), part, None), nn.Module):
            layer.register_forward_hook(lambda module, inputs, output: output.float())
    return saved_bytes(detector.outputs, model)


if __name__ == '__main__':
    main()
