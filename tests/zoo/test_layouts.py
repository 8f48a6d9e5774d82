"""Checkpoints in the authors' layouts are converted, including training checkpoints, detectors and segmenters."""
import re
from contextlib import suppress

import pytest
import torch
from golden_files import GOLDENS, NETWORKS
from helpers import raises
from mmengine.registry import MODELS

from mmvit_backbones import convert_state_dict, get_model, list_models
from mmvit_backbones.errors import CheckpointError, UnknownKeyError
from mmvit_backbones.zoo.building import import_mmpretrain, model_config
from mmvit_backbones.zoo.loading import LAYOUTS
from mmvit_backbones.zoo.state_dicts import find_state_dict
from mmvit_backbones.zoo.variants import VARIANTS


def published() -> dict[str, str]:
    """Returns the golden with the fewest weights of each layout, and its variant."""
    by_layout = {}
    for name, golden in sorted(NETWORKS.items(), key=lambda item: len(item[1]['state_dict']), reverse=True):
        if golden['inputs'][0]['call'] == 'classify':
            by_layout[VARIANTS[golden['variant']].family.layout] = name, golden['variant']
    return dict(by_layout.values())


PUBLISHED = published()
each_layout = pytest.mark.parametrize('golden, name', PUBLISHED.items(), ids=PUBLISHED.values())


def weights_of(golden: str) -> dict[str, torch.Tensor]:
    """Returns a one-element tensor with a distinct value for every key."""
    return {key: torch.tensor([float(i)]) for i, key in enumerate(GOLDENS[golden]['state_dict'], start=1)}


def assert_same(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert actual.keys() == expected.keys() and all(torch.equal(actual[key], expected[key]) for key in expected)


@pytest.mark.parametrize('name', ['regionvit_tiny', None])
def test_values_that_are_not_tensors_are_refused(name):
    with raises(KeyError, "'norm.weight' must be a tensor", 'int'):
        convert_state_dict(name, weights_of('golden_regionvit_tiny') | {'norm.weight': 3})


@pytest.mark.enumerates
def test_no_layout_is_left_out():
    missing = set(LAYOUTS) - {VARIANTS[name].family.layout for name in PUBLISHED.values()}
    names = {layout.network for layout in missing}
    assert not names, f'tests/goldens has no golden_*.json with the call "classify" for {names}'


@each_layout
def test_weights_in_a_training_state(golden, name):
    weights = weights_of(golden)
    expected = convert_state_dict(name, weights)
    saved = dict(epoch=3, optimizer={}, model={f'module.{key}': x for key, x in weights.items()})
    assert_same(convert_state_dict(name, saved), expected)
    with raises(CheckpointError, "'model.', 'model_ema.'"):
        convert_state_dict(name, dict(saved, model_ema={key: -x for key, x in weights.items()}))


@pytest.mark.parametrize('golden, prefix, others', [
    ('golden_rest_lite_det', 'backbone.bottom_up.', [
        'backbone.fpn_lateral2.weight', 'proposal_generator.rpn_head.conv.weight', 'roi_heads.box_head.fc1.weight']),
    ('golden_restv2_tiny_det', 'backbone.bottom_up.', [
        'backbone.fpn_lateral2.weight', 'proposal_generator.rpn_head.conv.weight', 'pixel_std']),
    ('golden_regionvit_tiny_det', 'backbone.bottom_up.model.', [
        'backbone.fpn_lateral2.weight', 'proposal_generator.rpn_head.conv.weight', 'pixel_mean',
        'roi_heads.box_head.fc1.weight', 'head.cls_subnet.0.weight', 'backbone.top_block.p6.weight']),
])
def test_detectors(golden, prefix, others):
    """The backbone in a detectron2 checkpoint has a norm for every stage; pyramid and heads are left out."""
    name, weights = NETWORKS[golden]['variant'], weights_of(golden)
    file = dict(model={**{prefix + key: value for key, value in weights.items()}, **dict.fromkeys(others)})
    converted = convert_state_dict(name, file, 'backbone')
    assert_same(converted, convert_state_dict(name, weights, 'backbone'))
    assert {f'norm{stage}.weight' for stage in range(4)} <= converted.keys()
    with raises(KeyError, others[0]):  # without the prefix, the file is not treated as a detector
        convert_state_dict(name, {**weights, others[0]: torch.zeros(1)})


def test_segmenters():
    """The backbone in an mmseg checkpoint has a norm for every stage, and the heads keep their names."""
    weights = weights_of('golden_restv2_tiny_seg')
    file = {f'backbone.{key}': value for key, value in weights.items()}
    file |= dict.fromkeys(['decode_head.conv_seg.weight', 'auxiliary_head.conv_seg.bias'], torch.zeros(1))
    converted = convert_state_dict('restv2_tiny', dict(state_dict=file), 'backbone')
    assert_same(converted, convert_state_dict('restv2_tiny', weights, 'backbone'))
    assert {f'norm{stage}.weight' for stage in range(4)} <= converted.keys()
    heads = convert_state_dict('restv2_tiny', dict(state_dict=file)).keys() - {f'backbone.{key}' for key in converted}
    assert heads == {'decode_head.conv_seg.weight', 'auxiliary_head.conv_seg.bias'}


@pytest.mark.parametrize('name, golden, key', [
    ('restv2_tiny', 'golden_rest_lite', 'stem.conv1.weight'), ('rest_lite', 'golden_restv2_tiny', 'stem.proj.0.weight'),
    ('reswin_tiny', 'golden_reswin_tiny', 'alpha')])  # of a learned gate
def test_weights_of_another_version_are_refused(name, golden, key):
    with raises(KeyError, key):
        convert_state_dict(name, {key: torch.zeros(1), **weights_of(golden)})


@pytest.mark.parametrize('name, golden, keys', [
    ('regionvit_tiny', 'golden_regionvit_tiny', GOLDENS['golden_regionvit_tiny']['tied_keys']),
    ('vitaev2_vsa_small', 'golden_vitaev2_vsa_s', ['layers.1.NC.0.attn.base_coords', 'layers.1.NC.0.attn.coords'])])
def test_tied_tensors_and_buffers_of_early_files_are_left_out(name, golden, keys):
    weights = weights_of(golden)
    assert_same(convert_state_dict(name, {**weights, **dict.fromkeys(keys, torch.zeros(1))}),
                convert_state_dict(name, weights))


# ---- ViTAE: only some of the published variants have goldens


PLAIN = ('vitae_base', 'vitae_large', 'vitae_huge')
PYRAMIDS = tuple(sorted({*list_models('vitae_*'), *list_models('vitaev2_*')} - {*PLAIN, *list_models('*vsa*')}))


def authors_keys(name: str) -> set[str]:
    """Returns the names in the authors' checkpoint: a golden's names, with the variant's number of cells."""
    arch = MODELS.get(VARIANTS[name].family.backbone).arch_zoo[VARIANTS[name].arch]
    if name in PLAIN:
        cell = GOLDENS['golden_op_normal_v1_class_token']['state_dict']
        stem = ['layers.0.RC.pos_embed', 'layers.0.RC.cls_token', 'layers.0.RC.PRM.proj.weight',
                'layers.0.RC.PRM.proj.bias', 'fc_norm.weight', 'fc_norm.bias', 'head.weight', 'head.bias']
        return {*stem, *(f'layers.2.NC.{j}.{key}' for j in range(arch.depth) for key in cell)}
    golden = GOLDENS['golden_vitae_t' if name.startswith('vitae_') else
                     'golden_vitaev2_s_window' if name.endswith('window') else 'golden_vitaev2_s']
    depths = getattr(arch, 'depths', None) or (0, 0, arch.depth)
    keys = set()
    for key in golden['state_dict']:
        cell = re.fullmatch(r'layers\.(\d)\.NC\.(\d+)\.(.*)', key)
        if cell is None:
            keys.add(key)
        elif cell[2] == '0':
            keys |= {f'layers.{cell[1]}.NC.{j}.{cell[3]}' for j in range(depths[int(cell[1])])}
    return keys


@pytest.mark.parametrize('name', PYRAMIDS + PLAIN)
def test_every_published_layout_of_vitae_fills_the_model(name):
    pytest.importorskip('mmpretrain')
    import_mmpretrain()
    with torch.device('meta'):
        model = MODELS.build(model_config(VARIANTS[name], 'classification'))
    converted = convert_state_dict(name, {key: torch.empty(0) for key in authors_keys(name)})
    assert converted.keys() == model.state_dict().keys()


# ---- any network


def test_files_of_no_network_are_refused(tmp_path):
    other = {'layers.0.blocks.0.attn.extra.weight': torch.zeros(1)}
    torch.save(other, tmp_path / 'other.pth')
    with raises(ValueError, 'SwinVSA', "expected 'patch_embed.proj.weight', got 'layers.0.blocks.0.attn.extra.weight'"):
        get_model('swin_vsa_tiny', 'backbone', str(tmp_path / 'other.pth'))
    with raises(KeyError, "'layers.0.blocks.0.attn.extra.weight'", 'Swin-VSA'):
        convert_state_dict('swin_vsa_tiny', other)
    with raises(KeyError, 'any network', 'none.weight'):
        convert_state_dict(None, {'none.weight': torch.zeros(1)})


@each_layout
def test_layouts_are_recognized_by_their_keys(golden, name, tmp_path):
    weights, layout = weights_of(golden), VARIANTS[name].family.layout
    for prefix in layout.prefixes:
        file = dict(model={prefix + key: value for key, value in weights.items()})
        found, recognized = find_state_dict(file, LAYOUTS)
        assert recognized is layout
        assert found.keys() == convert_state_dict(name, weights).keys()
    assert find_state_dict(dict(state_dict=convert_state_dict(name, weights)), LAYOUTS)[1] is None
    for key in layout.keys:
        with suppress(UnknownKeyError):  # of a layout that has fewer keys
            other = find_state_dict({each: value for each, value in weights.items() if each != key}, LAYOUTS)[1]
            assert other is not layout
    torch.save({**weights, 'blocks.0.extra': torch.zeros(1)}, tmp_path / 'authors.pth')
    with raises(ValueError, 'authors.pth', "'blocks.0.extra'", layout.network) as caught:
        get_model(name, 'backbone', tmp_path / 'authors.pth')
    assert '\n' not in str(caught.value)
