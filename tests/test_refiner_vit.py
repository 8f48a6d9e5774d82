"""Refiner-ViT beyond the goldens: pieces of maps, folded norms, memory, statistics of batches, checkpoints."""
import pytest
import torch
import torch.nn.functional as F
from golden import fill_state_dict
from mmengine.registry import MODELS
from test_goldens import GOLDENS
from tiny_configs import TINY_CONFIGS
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmvit_backbones import convert_state_dict
from mmvit_backbones.backbones import refiner_vit
from mmvit_backbones.backbones.refiner_vit import SharedAttention, exchange, sample_box


def build(**arguments) -> nn.Module:
    """A miniature whose batch norms have learned something."""
    torch.manual_seed(0)
    model = MODELS.build(dict(type='RefinerViT', **{**TINY_CONFIGS['RefinerViT'], **arguments}))
    model.apply(randomise)
    return model


def randomise(module: nn.Module) -> None:
    if isinstance(module, nn.BatchNorm2d):
        nn.init.uniform_(module.weight, 0.5, 1.5)
        nn.init.normal_(module.bias)
        module.running_mean.normal_()
        module.running_var.uniform_(0.5, 1.5)


def shared_attention(num_heads: int = 2) -> SharedAttention:
    torch.manual_seed(0)
    attention = SharedAttention(8 * num_heads, num_heads).double()
    attention.apply(randomise)
    return attention


def as_published(attention: SharedAttention, x: torch.Tensor, carried: torch.Tensor) -> torch.Tensor:
    """Written out: three convolutions, each with its norm, and a norm of the sum."""
    refiner = attention.refiner
    inner = F.relu6(refiner.norm1(refiner.expand(carried)))
    inner = F.relu6(refiner.norm2(refiner.depthwise(inner)))
    maps = attention.norm(refiner.norm3(refiner.project(inner)) + carried) * attention.scale
    value = attention.value(x).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
    return attention.proj((maps @ value).transpose(1, 2).flatten(2))


def inputs(batch: int = 3, tokens: int = 21) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(batch, tokens, 16).double(), torch.randn(batch, 2, tokens, tokens).double()


@pytest.mark.parametrize('training', [False, True])
def test_shared_attention_as_published(training):
    """Result, gradients and running statistics, of the weights as they are now."""
    attention, expected = shared_attention().train(training), shared_attention().train(training)
    for change in (lambda norm: None, randomise):
        torch.manual_seed(1)
        attention.apply(change)
        torch.manual_seed(1)
        expected.apply(change)
        x, carried = (t.requires_grad_() for t in inputs())
        (ours, _), theirs = attention(x, carried), as_published(expected, x, carried)
        torch.testing.assert_close(ours, theirs)
        target = torch.randn_like(ours)
        gradients = (torch.autograd.grad((out * target).sum(), [x, carried, *module.parameters()])
                     for out, module in ((ours, attention), (theirs, expected)))
        for a, b in zip(*gradients):
            torch.testing.assert_close(a, b, atol=1e-8, rtol=1e-6)
        for a, b in zip(attention.buffers(), expected.buffers()):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize('limit', [1, 6 * 21 * 10, 6 * 21 * 21 * 2])
def test_pieces_and_whole_agree(limit, monkeypatch):
    """Without gradients, and with those of frozen norms: some rows, or several pictures, at a time."""
    attention, (x, carried) = shared_attention().eval(), inputs()
    carried.requires_grad_()
    whole, _ = attention(x, carried)
    gradient, = torch.autograd.grad(whole.square().sum(), carried)
    for name in ('CPU_CHUNK', 'TRAINING_CHUNK'):
        monkeypatch.setattr(refiner_vit, name, limit)
    in_pieces, _ = attention(x, carried)
    torch.testing.assert_close(in_pieces, whole)
    torch.testing.assert_close(torch.autograd.grad(in_pieces.square().sum(), carried)[0], gradient)
    with torch.no_grad():
        torch.testing.assert_close(attention(x, carried)[0], whole)


def test_with_and_without_gradients_agree(monkeypatch):
    """Without them, maps are made piece by piece and written over those before."""
    monkeypatch.setattr(refiner_vit, 'CPU_CHUNK', 2000)
    model, images = build().eval(), torch.randn(2, 3, 100, 70)
    with torch.no_grad():
        maps = model.forward_stages(images)
    for a, b in zip(maps, model.forward_stages(images)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


class LargeStorages(TorchDispatchMode):
    """Notes the memory of all tensors that are as large as the maps."""

    def __init__(self, num_bytes: int) -> None:
        super().__init__()
        self.num_bytes, self.seen = num_bytes, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out, ):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().nbytes() >= self.num_bytes:
                self.seen.add(tensor.untyped_storage().data_ptr())
        return out


@torch.no_grad()
def test_one_set_of_maps_in_evaluation():
    """Of 400 patches: all blocks write into it, and nothing of the refiner's is nearly as large."""
    model = build(arch=dict(TINY_CONFIGS['RefinerViT']['arch'], num_heads=8)).eval()
    tokens, carried = torch.randn(1, 401, 16), None
    with LargeStorages(8 * 401**2 * 4) as large:
        for block in model.blocks:
            tokens, carried = block(tokens, carried)
    assert len(large.seen) == 1


def test_other_kinds_of_batch_norms_do_the_same():
    """Those that are synchronised cannot take the short way to their statistics."""

    class Synchronised(nn.BatchNorm2d):
        pass

    attention, (x, carried) = shared_attention().train(), inputs()
    norm = attention.refiner.norm1
    expected, _ = attention(x, carried)
    statistics = norm.running_mean.clone(), norm.running_var.clone()
    other = shared_attention().train()
    norm = Synchronised(6).double()
    norm.load_state_dict(other.refiner.norm1.state_dict())
    other.refiner.norm1 = norm
    torch.testing.assert_close(other(x, carried)[0], expected)
    for a, b in zip((norm.running_mean, norm.running_var), statistics):
        torch.testing.assert_close(a, b)


@torch.no_grad()
def test_synchronised_norms_in_evaluation():
    model, images = build().eval(), torch.randn(1, 3, 64, 64)
    expected = model(images)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    kinds = {type(module) for module in converted.modules()}
    assert nn.SyncBatchNorm in kinds and nn.BatchNorm2d not in kinds
    for a, b in zip(converted(images), expected):
        torch.testing.assert_close(a, b)


def test_three_wide_maps_are_kept_for_backward():
    attention, sizes = shared_attention().train(), {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x, carried = inputs(1, 60)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out, _ = attention(x, carried.requires_grad_())
    assert out.requires_grad and sum(size >= 6 * 60**2 * 8 for size in sizes.values()) == 3


def test_statistics_are_updated_once_with_recomputation():
    images, buffers = torch.randn(2, 3, 64, 64), []
    for with_cp in (False, True):
        model = build(with_cp=with_cp, drop_path_rate=0.).train()
        sum(out.square().mean() for out in model(images)).backward()
        buffers.append(dict(model.named_buffers()))
    for name, value in buffers[0].items():
        torch.testing.assert_close(buffers[1][name], value, msg=name)


def test_frozen_norms_keep_their_statistics():
    model = build(norm_eval=True).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    sum(out.square().mean() for out in model(torch.randn(2, 3, 64, 64))).backward()
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert all(p.grad is not None for p in model.parameters())


def test_exchange_is_its_own_inverse():
    x = torch.randn(4, 6, 5, 3)
    mixed = exchange(x, (1, 0, 3, 4))
    assert torch.equal(mixed[0, 1:3, :4], x[3, 1:3, :4]) and torch.equal(mixed[0, 3:], x[0, 3:])
    assert torch.equal(exchange(mixed, (1, 0, 3, 4)), x)


def test_boxes_lie_on_the_grid():
    boxes = [sample_box(5, 9) for _ in range(200)]
    assert all(0 <= top <= bottom <= 5 and 0 <= left <= right <= 9 for top, left, bottom, right in boxes)
    assert len({box[2] - box[0] for box in boxes}) > 3 and len({box[3] - box[1] for box in boxes}) > 5


def test_tokens_in_training_and_evaluation():
    model = build(out_indices=3, out_type='tokens', mix_tokens=True)
    images = torch.randn(2, 3, 64, 48)
    features, = model.train()(images)
    assert features.tokens.shape == (2, 13, 16) and features.grid == (4, 3) and len(features.maps) == 8
    assert all(maps.shape == (2, 2, 13, 13) for maps in features.maps)
    with torch.no_grad():
        features, = model.eval()(images)
    assert features.box == (0, 0, 0, 0) and features.maps == ()


@pytest.mark.parametrize('arguments, told', [
    (dict(out_type='cls'), 'out_type'),
    (dict(out_type='tokens'), 'out_indices'),
    (dict(mix_tokens=True), 'mix_tokens'),
    (dict(img_size=15), 'img_size'),
    (dict(arch=dict(TINY_CONFIGS['RefinerViT']['arch'], depth=6)), 'depth'),
    (dict(arch=dict(TINY_CONFIGS['RefinerViT']['arch'], num_heads=3)), 'num_heads'),
])
def test_bad_settings_are_named(arguments, told):
    with pytest.raises(ValueError, match=told):
        build(**arguments)


@pytest.mark.parametrize('name', ['golden_refiner_vit_s', 'golden_refiner_vit_s_plain'])
def test_averaged_weights_are_preferred(name):
    golden = GOLDENS[name]
    weights = fill_state_dict(golden['state_dict'], torch.float32)
    saved = dict(state_dict={}, state_dict_ema={f'module.{key}': value for key, value in weights.items()}, epoch=3,
                 arch='refiner_vit_s', metric=84.)
    converted = convert_state_dict(golden['variant'], saved)
    expected = convert_state_dict(golden['variant'], weights)
    assert converted.keys() == expected.keys() and all(converted[key] is value for key, value in expected.items())


def test_positions_of_another_size_are_resized_on_load():
    large, small = build(img_size=448), build(img_size=64)
    small.load_state_dict(large.state_dict())
    table, resized = (model.embed.positions.pos_embed for model in (large, small))
    assert table.shape[1] == 785 and resized.shape[1] == 17
    assert torch.equal(table[:, 0], resized[:, 0])
    odd = dict(large.state_dict(), **{'embed.positions.pos_embed': table[:, :-1]})
    with pytest.raises(ValueError, match='pos_embed.*784'):
        small.load_state_dict(odd)
