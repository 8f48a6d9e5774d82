"""ViTAE and ViTAEv2 beyond the goldens: layouts of all published files, memory, positions, precision."""
import re

import pytest
import torch
from mmengine.registry import MODELS
from test_goldens import GOLDENS
from tiny_configs import TINY_CONFIGS
from torch.utils._python_dispatch import TorchDispatchMode

from mmvit_backbones import convert_state_dict, list_models
from mmvit_backbones.layers import LinearAttention
from mmvit_backbones.models import import_mmpretrain
from mmvit_backbones.zoo import VARIANTS

PLAIN = ('vitae_base', 'vitae_large', 'vitae_huge')
PYRAMIDS = tuple(sorted({*list_models('vitae_*'), *list_models('vitaev2_*')} - {*PLAIN, *list_models('*vsa*')}))


def authors_keys(name: str) -> set[str]:
    """Names in the authors' file: those of a recorded network, with as many cells as this one has."""
    if name in PLAIN:
        cell = GOLDENS['golden_op_normal_v1_class_token']['state_dict']
        stem = ['layers.0.RC.pos_embed', 'layers.0.RC.cls_token', 'layers.0.RC.PRM.proj.weight',
                'layers.0.RC.PRM.proj.bias', 'fc_norm.weight', 'fc_norm.bias', 'head.weight', 'head.bias']
        depth = VARIANTS[name].backbone['arch'], MODELS.get('ViTAE').arch_zoo[VARIANTS[name].backbone['arch']]['depth']
        return {*stem, *(f'layers.2.NC.{j}.{key}' for j in range(depth[1]) for key in cell)}
    golden = GOLDENS['golden_vitae_t' if name.startswith('vitae_') else
                     'golden_vitaev2_s_window' if name.endswith('window') else 'golden_vitaev2_s']
    arch = MODELS.get(VARIANTS[name].backbone['type']).arch_zoo[VARIANTS[name].backbone['arch']]
    depths = arch['depths'] if 'depths' in arch else [0, 0, arch['depth']]
    keys = set()
    for key in golden['state_dict']:
        cell = re.fullmatch(r'layers\.(\d)\.NC\.(\d+)\.(.*)', key)
        if cell is None:
            keys.add(key)
        elif cell[2] == '0':
            keys |= {f'layers.{cell[1]}.NC.{j}.{cell[3]}' for j in range(depths[int(cell[1])])}
    return keys


@pytest.mark.parametrize('name', PYRAMIDS + PLAIN)
def test_every_published_layout_fills_the_model(name):
    import_mmpretrain()
    with torch.device('meta'):
        model = MODELS.build(VARIANTS[name].model_config('classification'))
    converted = convert_state_dict(name, {key: torch.empty(0) for key in authors_keys(name)})
    assert converted.keys() == model.state_dict().keys()


def test_averaged_weights_are_preferred():
    key = 'module.layers.0.RC.PCM.0.bias'
    saved = dict(state_dict={key: torch.zeros(1)}, state_dict_ema={key: torch.ones(1)}, epoch=300, arch='ViTAEv2_S')
    converted = convert_state_dict('vitaev2_small', saved)
    assert converted == {'backbone.stages.0.reduction.conv_branch.convs.0.bias': torch.ones(1)}


class LargestTensor(TorchDispatchMode):
    """Notes the largest tensor that any operator returns, in elements."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        tensors = out if isinstance(out, (tuple, list)) else (out, )
        self.largest = max(self.largest, *(t.numel() for t in tensors if isinstance(t, torch.Tensor)), 0)
        return out


@pytest.mark.parametrize('network', ['ViTAE', 'ViTAEv2'])
@torch.no_grad()
def test_no_attention_map_is_stored(network):
    """At 768 x 768 the third stage has 2,304 tokens: its logits would outweigh all else."""
    model = MODELS.build(dict(type=network, **TINY_CONFIGS[network])).eval()
    with LargestTensor() as recorded:
        model(torch.randn(1, 3, 768, 768))
    assert recorded.largest < 2304**2


@torch.no_grad()
def test_positions_are_resized_alike_on_load_and_at_run_time():
    arguments = TINY_CONFIGS['ViTAE, plain']
    model = MODELS.build(arguments).eval()
    torch.nn.init.normal_(model.patch_embed.positions.pos_embed)
    larger = MODELS.build(dict(arguments, img_size=96)).eval()
    larger.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 96, 96)
    torch.testing.assert_close(larger(images), model(images))


@torch.no_grad()
def test_class_token_matters_but_is_not_convolved():
    model = MODELS.build(TINY_CONFIGS['ViTAE, plain']).eval()
    images = torch.randn(1, 3, 64, 64)
    before = model(images)[0]
    torch.nn.init.normal_(model.patch_embed.class_token)
    changed = (model(images)[0] - before).abs().amax(1)[0]
    # Attention takes it to all places about alike; convolutions would favour the first.
    assert changed.min() > 0 and changed.max() < 20 * changed.min()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@torch.no_grad()
def test_linear_attention_sums_in_float32(dtype):
    """4096 tokens: sums of that length in half precision would be off by far more."""
    attention = LinearAttention(32, 32)
    x = torch.randn(1, 64, 64, 32)
    seen = []
    attention.linear_attention = lambda *x: seen.append(x) or LinearAttention.linear_attention(attention, *x)
    with torch.autocast('cpu', dtype):
        attention(x)
    exact = attention.double().linear_attention(*(t.double() for t in seen[0]))
    rounded = LinearAttention.linear_attention(attention.float(), *seen[0])
    assert seen[0][0].dtype == torch.float32
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-4, atol=1e-6)
