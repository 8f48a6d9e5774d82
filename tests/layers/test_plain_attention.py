"""Attention layers without position bias, compared with their formulas."""
import pytest
import torch
import torch.nn.functional as F
from helpers import relative_error

from mmvit_backbones.layers import GlobalAttention, LinearAttention, WindowAttention


def softmax_attention(qkv: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Computes attention from queries, keys and values ``(N, 3 * channels)``, head by head."""
    heads = []
    for q, k, v in zip(*(x.chunk(num_heads, dim=-1) for x in qkv.chunk(3, dim=-1))):
        heads.append((q @ k.T / q.shape[-1]**0.5).softmax(-1) @ v)
    return torch.cat(heads, dim=-1)


@pytest.mark.parametrize('height, width', [(4, 8), (5, 7), (1, 2)])
@torch.no_grad()
def test_window_attention_includes_padding_tokens(height, width):
    attention = WindowAttention(in_channels=6, channels=8, num_heads=2, window_size=4).double()
    x = torch.randn(2, height, width, 6, dtype=torch.float64)
    pad_h, pad_w = -height % 4, -width % 4
    top, left = pad_h // 2, pad_w // 2
    qkv = attention.qkv(F.pad(x, (0, 0, left, pad_w - left, top, pad_h - top)))
    expected = torch.zeros(*qkv.shape[:3], 8, dtype=torch.float64)
    for image in range(2):
        for row in range(0, qkv.shape[1], 4):
            for column in range(0, qkv.shape[2], 4):
                window = qkv[image, row:row + 4, column:column + 4].flatten(0, 1)
                expected[image, row:row + 4, column:column + 4] = softmax_attention(window, 2).view(4, 4, 8)
    expected = attention.proj(expected[:, top:top + height, left:left + width])
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize('shape', [(7, ), (3, 5)], ids=str)
@pytest.mark.parametrize('value_skip', [False, True])
@torch.no_grad()
def test_global_attention(shape, value_skip):
    attention = GlobalAttention(6, 8, 2, qkv_bias=not value_skip, value_skip=value_skip).double()
    assert (attention.qkv.bias is None) == value_skip
    x = torch.randn(2, *shape, 6, dtype=torch.float64)
    for image, out in zip(x, attention(x)):
        qkv = attention.qkv(image.flatten(0, -2))
        expected = attention.proj(softmax_attention(qkv, 2)) + value_skip * qkv[:, 16:]
        torch.testing.assert_close(out, expected.view(*shape, 8))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@torch.no_grad()
def test_linear_attention_sums_in_float32(dtype):
    """Rounding exponentials and sums to half precision would give larger errors."""
    attention, seen = LinearAttention(32, 32), {}
    attention.kqv.register_forward_hook(lambda module, args, out: seen.update(projected=out.double().flatten(1, 2)))
    attention.proj.register_forward_pre_hook(lambda module, args: seen.update(attended=args[0]))
    with torch.autocast('cpu', dtype):
        attention(torch.randn(1, 64, 64, 32))
    key, query, value = seen['projected'].chunk(3, dim=-1)
    key, query = (torch.exp(x @ attention.features.double().T - x.square().sum(-1, keepdim=True) / 2)
                  for x in (key, query))
    weights = query @ key.mT
    expected = weights / weights.sum(-1, keepdim=True) @ value
    assert seen['attended'].dtype == dtype
    assert relative_error(seen['attended'], expected) < torch.finfo(dtype).eps / 2


@torch.no_grad()
def test_linear_attention_adds_the_values():
    """With zero projection weights, the output is the values plus the bias. Dropout is off in evaluation."""
    attention = LinearAttention(6, 8, drop_rate=0.5).double().eval()
    attention.proj.weight.zero_()
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(attention(x), attention.kqv(x)[..., 16:] + attention.proj.bias)
    dropped = attention.train()(x) - attention.kqv(x)[..., 16:]
    assert 0 < dropped.count_nonzero() < dropped.numel()


@torch.no_grad()
def test_linear_attention_without_dropout_and_its_initial_features():
    attention, x = LinearAttention(6, 32), torch.randn(2, 3, 5, 6)
    torch.testing.assert_close(attention.train()(x), attention.eval()(x))
    torch.testing.assert_close(attention.features @ attention.features.T, 16 * torch.eye(16), atol=1e-4, rtol=0)
