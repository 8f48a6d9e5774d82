"""Cells of ViTAEv2-VSA, compared with outputs of the authors' code."""
import pytest
import torch
from golden import digest, fill_state_dict, make_input, mismatch
from golden_files import GOLDENS

from mmvit_backbones.layers import (
    ContextPosition,
    ConvBranch,
    ConvLayer,
    NormalCell,
    PyramidReduction,
    ReductionCell,
    VariedSizeWindowAttention,
)
from mmvit_backbones.zoo.converters.layout import rename
from mmvit_backbones.zoo.converters.vitae import VSA_CELL

CELLS = GOLDENS['golden_op_cells']


def build_cell(case: dict) -> torch.nn.Module:
    settings, windows = case['settings'], (case['window_padding'], case['offset_divisor'])
    heads, size, group = settings['heads'], settings['window_size'], settings['group']
    if case['cell'] == 'normal':
        channels, ratio = settings['dim'], int(settings['mlp_ratio'])
        return NormalCell(
            channels, VariedSizeWindowAttention(channels, channels, heads, size, *windows),
            ConvBranch(channels, group, [ConvLayer(ratio * channels), ConvLayer(channels), ConvLayer(channels)]), ratio,
            drop_rate=0., drop_path=0., position=ContextPosition(channels))
    inside, width, channels = settings['in_channels'], settings['embed_dim'], settings['token_dim']
    stride = settings['stride']
    pyramid = PyramidReduction(inside, width, settings['prm_kernel_size'], stride, settings['prm_dilations'])
    conv_width = 2 * channels if settings['wide_pcm'] else width
    convs = [ConvLayer(conv_width, stride=2), ConvLayer(conv_width, stride=stride // 2), ConvLayer(channels)]
    return ReductionCell(
        channels, pyramid, VariedSizeWindowAttention(pyramid.out_channels, channels, heads, size, *windows),
        ConvBranch(inside, group, convs), position=ContextPosition(pyramid.out_channels))


@pytest.mark.parametrize('case', CELLS['cases'], ids=lambda case: case['name'])
@torch.no_grad()
def test_cells_match_the_authors(case):
    cell = build_cell(case).double().eval()
    weights = rename(fill_state_dict(case['state_dict']), VSA_CELL, 'ViTAEv2-VSA', case['name'])
    own = cell.state_dict()
    cell.load_state_dict({key: value.view_as(own[key]) for key, value in weights.items()}, strict=False)
    assert own.keys() - weights.keys() <= {key for key in own if key.endswith('num_batches_tracked')}
    x = make_input(case['inputs']['x']['shape'], case['inputs']['x']['seed'])
    out = cell(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert mismatch(digest(out), case['outputs']['out']) <= CELLS['rtol']
