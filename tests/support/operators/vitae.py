"""Goldens of single cells of ViTAE and ViTAEv2."""
import torch
from golden import fill_state_dict, make_input

from mmvit_backbones.backbones.vitae import PlainCell
from mmvit_backbones.layers import (
    ConvBranch,
    ConvLayer,
    GlobalAttention,
    LinearAttention,
    NormalCell,
    PyramidReduction,
    ReductionCell,
    WindowAttention,
)
from mmvit_backbones.zoo.converters.layout import rename
from mmvit_backbones.zoo.converters.vitae import NORMAL_CELL, PERFORMER_CELL, REDUCTION_CELL


def normal_cell(golden: dict) -> torch.nn.Module:
    kwargs = golden['variant_kwargs']
    channels, ratio, old = kwargs['dim'], int(kwargs['mlp_ratio']), kwargs['generation'] == 1
    attn = GlobalAttention(channels, channels, kwargs['heads'])
    if kwargs['attention'] == 'window':
        attn = WindowAttention(channels, channels, kwargs['heads'], kwargs['window_size'])
    short = kwargs.get('conv_layers') == 2
    convs = [ConvLayer(ratio * channels), ConvLayer(channels), *([] if short else [ConvLayer(channels)])]
    conv_branch = ConvBranch(channels, kwargs['groups'], convs, last_act=old and not short)
    kind = PlainCell if kwargs.get('class_token') else NormalCell
    return kind(channels, attn, conv_branch, ratio, drop_rate=0., drop_path=0.)


def reduction_cell(golden: dict) -> torch.nn.Module:
    kwargs = golden['variant_kwargs']
    inside, width, channels = kwargs['in_channels'], kwargs['pyramid_dim'], kwargs['token_dim']
    pyramid = PyramidReduction(inside, width, kwargs['kernel'], kwargs['stride'], kwargs['dilations'])
    is_performer = kwargs['attention'] == 'performer'
    convs = [
        ConvLayer(width, stride=2, norm=not is_performer),
        ConvLayer(width, stride=kwargs['stride'] // 2),
        ConvLayer(channels),
    ]
    conv_branch = ConvBranch(inside, kwargs['groups'], convs, last_act=is_performer)
    if is_performer:
        attn = LinearAttention(pyramid.out_channels, channels)
    elif kwargs['attention'] == 'window':
        attn = WindowAttention(pyramid.out_channels, channels, kwargs['heads'], kwargs['window_size'])
    else:
        attn = GlobalAttention(pyramid.out_channels, channels, kwargs['heads'], qkv_bias=False, value_skip=True)
    return ReductionCell(channels, pyramid, attn, conv_branch)


@torch.no_grad()
def run_cell(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    kwargs = golden['variant_kwargs']
    cell, layout = (normal_cell(golden), NORMAL_CELL) if kwargs['kind'] == 'normal' else (
        reduction_cell(golden), PERFORMER_CELL if kwargs['attention'] == 'performer' else REDUCTION_CELL)
    cell = cell.to(dtype).eval()
    cell.load_state_dict(rename(fill_state_dict(golden['state_dict'], dtype), layout, 'ViTAE', 'the golden'))
    x = make_input(case['shape'], case['seed'], dtype)
    if kwargs.get('class_token'):
        side = round((x.shape[1] - 1)**0.5)
        return {'y': cell(x, side, side)}
    attended = []
    cell.attn.register_forward_hook(lambda module, inputs, out: attended.append(out))
    outputs = {'y': cell(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)}
    if 'attn' in case['outputs']:
        shape = case['outputs']['attn']['shape']
        outputs['attn'] = attended[0].flatten(1, 2) if len(shape) == 3 else attended[0].permute(0, 3, 1, 2)
    return outputs


def details(model: torch.nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Returns the map and the class token of each of the authors' stages if the network is plain.

    The first two stages have no cells.
    """
    backbone = model.backbone
    if not backbone.is_plain:
        return {}
    embedded, height, width = backbone.patch_embed(images)
    tokens = embedded
    for cell in backbone.cells:
        tokens = cell(tokens, height, width)
    maps = {f'stage{i}': x[:, 1:].transpose(1, 2).unflatten(2, (height, width))
            for i, x in enumerate((embedded, embedded, tokens), start=1)}
    return {**maps, **{f'stage{i}_cls': x[:, 0] for i, x in enumerate((embedded, embedded, tokens), start=1)}}


OPERATORS = {
    f'op_{name}': run_cell
    for name in ('normal_global', 'normal_v1', 'normal_v1_class_token', 'normal_window', 'reduction_global',
                 'reduction_performer', 'reduction_window')
}
DETAILS = {'ViTAE': details}
