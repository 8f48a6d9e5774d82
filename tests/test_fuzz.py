"""Tests with random inputs. FUZZ_SEED is the seed, and FUZZ_FACTOR multiplies the number of inputs (`make fuzz`)."""
import copy
import io
import os
import random
import resource
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from helpers import each_network, relative_error, shared_model

from mmvit_backbones.errors import CheckpointError
from mmvit_backbones.zoo.reading import read_file

SEED = int(os.environ.get('FUZZ_SEED', 0))
FACTOR = int(os.environ.get('FUZZ_FACTOR', 1))  # a factor of 50 tests 200 image sizes per network


def cases(name: str, count: int) -> Iterator[random.Random]:
    """Yields random number generators that produce the same numbers on every machine."""
    for number in range(count * FACTOR):
        yield random.Random(f'{name} {SEED} {number}')


# ---- networks


def random_size(source: random.Random) -> int:
    return int(2**source.uniform(0, 7.3))


def random_images(source: random.Random) -> torch.Tensor:
    """Returns images of random size, batch size and memory layout."""
    batch, height, width = source.choice([0, 1, 1, 2, 3]), random_size(source), random_size(source)
    generator = torch.Generator().manual_seed(source.randrange(2**31))
    layout = source.choice(['plain', 'channels_last', 'transposed', 'slice', 'repeated'])
    if layout == 'transposed':
        return torch.randn(batch, 3, width, height, generator=generator).transpose(2, 3)
    if layout == 'slice':
        return torch.randn(batch, 4, height + 2, 2 * width, generator=generator)[:, 1:, 1:-1, ::2]
    if layout == 'repeated':
        return torch.randn(1, 3, height, width, generator=generator).expand(batch, -1, -1, -1)
    images = torch.randn(batch, 3, height, width, generator=generator)
    return images.to(memory_format=torch.channels_last) if layout == 'channels_last' else images


@cache
def reference_model(network: str) -> torch.nn.Module:
    return copy.deepcopy(shared_model(network)).double()


@cache
def bfloat16_is_right() -> bool:
    """Returns whether bfloat16 convolutions of narrow maps are right, unlike in PyTorch 2.11 on CPUs with AMX."""
    conv, x = torch.nn.Conv2d(3, 16, 4, 4), torch.randn(3, 3, 74, 4)
    with torch.autocast('cpu', torch.bfloat16):
        half = conv(x)
    return relative_error(half, conv(x)) < 0.1


@pytest.mark.slow
@each_network
@torch.no_grad()
def test_network_agrees_with_itself_in_float64(network):
    for source in cases(network, 4):
        images = random_images(source)
        half = source.choice([False, False, True]) and bfloat16_is_right()
        with torch.autocast('cpu', torch.bfloat16, enabled=half):
            maps = shared_model(network)(images)
        for got, expected in zip(maps, reference_model(network)(images.double()), strict=True):
            what = (network, tuple(images.shape), images.stride(), half)
            assert got.shape == expected.shape and got.isfinite().all(), what
            assert not got.numel() or relative_error(got, expected) < (0.1 if half else 1e-4), what


# ---- checkpoints


def training_state() -> dict:
    return dict(state_dict={f'layer{i}.weight': torch.randn(7, 5, generator=torch.Generator().manual_seed(i))
                            for i in range(3)}, meta=dict(epoch=3, scores=np.arange(4.)), optimizer=dict(lr=[1e-3]))


def mutated(content: bytes, source: random.Random) -> bytes:
    """Returns a copy with random changes: bytes are overwritten, removed or inserted, or the end is cut off."""
    data = bytearray(content)
    for _ in range(source.choice([1, 1, 2, 8])):
        start = source.randrange(max(len(data), 1))
        end = start + source.choice([1, 4, 64, 1024])
        kind = source.randrange(6)
        if kind == 0 and data:
            data[min(start, len(data) - 1)] ^= 1 << source.randrange(8)
        elif kind == 1:
            data[start:end] = source.randbytes(len(data[start:end]))
        elif kind == 2:
            data[start:end] = bytes(len(data[start:end]))
        elif kind == 3:
            del data[start:end]
        elif kind == 4:
            data[start:start] = data[-64:]
        else:
            del data[start:]
    return bytes(data)


def same(a, b) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (torch.Tensor, np.ndarray)):
        return type(a) is type(b) and a.shape == b.shape and bool((a == b).all())
    return a == b


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_damaged_checkpoint_is_refused_or_loaded_exactly(tmp_path):
    file, expected = io.BytesIO(), training_state()
    torch.save(expected, file)
    before, refused, count, path = peak(), 0, 0, tmp_path / 'mutated.pth'
    for source in cases('bytes', 500):
        path.write_bytes(mutated(file.getvalue(), source))
        count += 1
        try:
            assert same(expected, read_file(path)), path
        except CheckpointError as error:
            assert '\n' not in str(error) and str(path) in str(error)
            refused += 1
    assert refused > count / 2 and peak() - before < 2**28
