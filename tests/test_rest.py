"""What is particular to ResT: the instance norm of version 1 in its short form, output norms, checkpoint layouts."""
import pytest
import torch
import torch.nn.functional as F
from golden import fill_state_dict
from miniatures import MINIATURES
from mmengine.registry import MODELS
from test_goldens import GOLDENS

from mmvit_backbones import convert_state_dict
from mmvit_backbones.backbones.rest import EMSA
from mmvit_backbones.checkpoints import rest


def build(network: str = 'ResT', **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(dict(type=network, **{**MINIATURES[network], **arguments})).eval()
    for stage in model.normed_stages:
        torch.nn.init.normal_(model.output_norm(stage).weight)
    return model


def as_published(attention: EMSA, x: torch.Tensor) -> torch.Tensor:
    """Version 1 written out: mixed logits, softmax, instance norm of the map."""
    query, = attention.split_heads(attention.q(x), 1)
    key, value = attention.split_heads(attention.keys_and_values(x), 2)
    weights = attention.mix_heads(query @ key.transpose(2, 3) * query.shape[-1]**-0.5).softmax(-1)
    out = F.instance_norm(weights, eps=1e-5) @ value
    return attention.proj(out.transpose(1, 2).reshape(x.shape))


@pytest.mark.parametrize('training', [False, True])
def test_instance_norm_as_published(training):
    """Result and gradients; in training the map is computed anew in the backward pass."""
    attention = EMSA(32, 4, 2, 1e-5).double().train(training)
    x = torch.randn(2, 9, 7, 32, dtype=torch.float64, requires_grad=True)
    inputs = [x, *attention.parameters()]
    target = torch.randn(2, 9, 7, 32, dtype=torch.float64)
    ours, theirs = attention(x), as_published(attention, x)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(torch.autograd.grad((ours * target).sum(), inputs),
                    torch.autograd.grad((theirs * target).sum(), inputs)):
        torch.testing.assert_close(a, b, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)])
@torch.no_grad()
def test_nearly_uniform_attention_is_accurate(dtype, tolerance):
    """Where the instance norm amplifies rounding most, and keys and values have a large mean."""
    attention = EMSA(64, 2, 1, 1e-5).double()
    attention.mix_heads.weight.mul_(0.1)
    attention.kv.bias.fill_(3.)
    x = torch.randn(1, 12, 12, 64, dtype=dtype)
    expected = as_published(attention, x.double())
    error = (attention.to(dtype)(x).double() - expected).norm() / expected.norm()
    assert error < tolerance


def test_one_map_is_kept_for_backward():
    attention, sizes = EMSA(32, 4, 2, 1e-5).train(), {}

    def pack(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = attention(torch.randn(1, 32, 32, 32))
    one_map = 4 * 32**2 * 16**2 * 4  # bytes: heads, queries, keys, float32
    assert out.requires_grad and sum(size >= one_map for size in sizes.values()) == 1


@torch.no_grad()
def test_norms_in_the_stream_change_later_stages():
    images = torch.randn(1, 3, 64, 64)
    side, stream = build(out_norm='side'), build(out_norm='in_stream')
    assert torch.equal(side(images)[0], stream(images)[0])
    assert not torch.allclose(side.forward_stages(images)[1], stream.forward_stages(images)[1])
    x = stream(images)[0]
    for block in [stream.patch_embeds[1], *stream.stages[1]]:
        x = block(x)
    torch.testing.assert_close(x.permute(0, 3, 1, 2), stream.forward_stages(images)[1])


@torch.no_grad()
def test_a_stage_that_is_not_asked_for_has_no_norm():
    images = torch.randn(1, 3, 64, 64)
    side, stream = (build(out_norm=out_norm, out_indices=(1, 2, 3)) for out_norm in ('side', 'in_stream'))
    assert not hasattr(stream, 'norm0')
    assert torch.equal(side(images)[0], stream(images)[0])
    assert not torch.allclose(side(images)[1], stream(images)[1])


@pytest.mark.parametrize('network', ['ResT', 'ResTv2'])
@torch.no_grad()
def test_without_output_norms_maps_are_raw(network):
    model, raw = build(network, out_norm='side'), build(network, out_norm=None)
    raw.load_state_dict(model.state_dict())  # the checkpoint's norms are left out
    images = torch.randn(1, 3, 64, 64)
    for a, b, c in zip(raw(images), raw.forward_stages(images), model.forward_stages(images)):
        assert torch.equal(a, b) and torch.equal(a, c)


@pytest.mark.parametrize('arguments, told', [
    (dict(out_norm='inside'), 'out_norm'),
    (dict(arch=dict(MINIATURES['ResT']['arch'], num_heads=[3, 2, 4, 8])), 'num_heads'),
    (dict(arch=dict(MINIATURES['ResT']['arch'], reductions=[3, 2, 1, 1])), 'reductions'),
    (dict(arch=dict(MINIATURES['ResT']['arch'], depths=[1, 1, 1])), 'depths'),
    (dict(arch=dict(MINIATURES['ResT']['arch'], embed_dims=15)), 'embed_dims'),
])
def test_bad_settings_are_named(arguments, told):
    with pytest.raises(ValueError, match=told):
        build(**arguments)


@pytest.mark.parametrize('name', ['golden_rest_lite', 'golden_restv2_tiny'])
@pytest.mark.parametrize('wrap', [
    lambda w: dict(model=w, optimizer={}, epoch=3, model_ema=w), lambda w: dict(state_dict=w, meta={}),
    lambda w: dict(model={f'module.{key}': value for key, value in w.items()}),
    lambda w: dict(model={f'backbone.bottom_up.{key}': value for key, value in w.items()}),
], ids=['model', 'state_dict', 'module', 'detector'])
def test_wrappers(name, wrap):
    variant = GOLDENS[name]['variant']
    weights = {key: torch.zeros(shape) for key, shape in GOLDENS[name]['state_dict'].items()}
    assert convert_state_dict(variant, wrap(weights)).keys() == convert_state_dict(variant, weights).keys()


@pytest.mark.slow
@pytest.mark.parametrize('name', ['golden_rest_lite_det', 'golden_restv2_tiny_det', 'golden_restv2_tiny_seg'])
def test_dense_layouts_fill_every_norm(name):
    golden = GOLDENS[name]
    weights = convert_state_dict(golden['variant'], fill_state_dict(golden['state_dict']), 'backbone')
    assert {f'norm{stage}.weight' for stage in range(4)} <= weights.keys()


def test_versions_are_told_apart():
    first, second = (dict.fromkeys(GOLDENS[name]['state_dict'], torch.zeros(1))
                     for name in ('golden_rest_lite', 'golden_restv2_tiny'))
    with pytest.raises(KeyError, match=r'stem\.conv1\.weight'):
        rest.convert_v2(first)
    with pytest.raises(KeyError, match=r'stem\.proj\.0\.weight'):
        rest.convert(second)
