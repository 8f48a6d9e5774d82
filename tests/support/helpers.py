"""Helpers shared by tests: paths, tiny networks, comparisons and expected errors."""
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import StringIO
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import register_handler
from mmengine.fileio.handlers import YamlHandler
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS
from torch import Tensor, nn
from torch.utils import _pytree
from yapf.yapflib import yapf_api

import mmvit_backbones  # noqa: F401  registers the networks
from mmvit_backbones.utils import versions

ROOT = Path(__file__).resolve().parents[2]  # of the repository
needs_half = pytest.mark.skipif(versions.is_older('2.4'), reason='float16 on CPUs requires PyTorch 2.4')
HALF_DTYPES = [pytest.param(torch.float16, marks=needs_half), torch.bfloat16]
# Since PyTorch 2.2.
tree_leaves = getattr(_pytree, 'tree_leaves', lambda tree: _pytree.tree_flatten(tree)[0])
each_network = pytest.mark.parametrize('network', sorted(TINY_CONFIGS))


@register_handler('yml')
class MetafileHandler(YamlHandler):
    """Parses each metafile only once; MMEngine reads all metafiles of a framework for every base config."""

    def load_from_fileobj(self, file, **kwargs):
        return parse_metafile(file.read())


@cache
def parse_metafile(text: str) -> dict:
    return YamlHandler().load_from_fileobj(StringIO(text))


def format_once(text: str, **options) -> tuple[str, bool]:
    """Formats each config only once; MMEngine's runner formats its config for the log, a file and every checkpoint."""
    key = text, repr(options)
    if key not in FORMATTED:
        FORMATTED[key] = format_code(text, **options)
    return FORMATTED[key]


FORMATTED: dict[tuple[str, str], tuple[str, bool]] = {}
format_code, yapf_api.FormatCode = yapf_api.FormatCode, format_once


def fresh_model(network: str, **arguments) -> nn.Module:
    """Builds a tiny network; each call gives the same weights."""
    torch.manual_seed(0)
    return MODELS.build({'type': network, **TINY_CONFIGS[network], **arguments})


@cache
def shared_model(network: str) -> nn.Module:
    """Returns a cached tiny network in evaluation mode, for tests that don't change the model."""
    return fresh_model(network).eval()


def trained_model(network: str, **arguments) -> nn.Module:
    """Builds a tiny network with random changes to all parameters and statistics, so that all affect the output."""
    model = fresh_model(network, **arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith('running_mean'):
                buffer.normal_(std=0.1)
            elif name.endswith('running_var'):
                buffer.uniform_(0.5, 1.5)
    return model


def save_run(cfg: Config, model: nn.Module, path: Path, **meta) -> Path:
    """Saves a checkpoint with its config, like a training; returns the path of the checkpoint."""
    text = Config(cfg.to_dict(), format_python_code=False).pretty_text  # formatting takes a second
    torch.save(dict(state_dict=model.state_dict(), meta=dict(meta, cfg=text)), path)
    return path


def without_dropout(model: nn.Module) -> nn.Module:
    """Sets all dropout rates to 0; if drop path is disabled, too, two passes in training mode agree."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.
    return model


def images(height: int = 64, width: int = 96, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, height, width)


def gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Returns the gradients of a loss over all maps, by parameter name."""
    sum(out.square().mean() for out in model(x)).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual.double() - expected.double()).norm() / expected.double().norm()).item()


def largest_error(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    return max(relative_error(a, e) for a, e in zip(actual, expected, strict=True))


@contextmanager
def raises(error: type[Exception] | tuple[type[Exception], ...], *words: object) -> Iterator[pytest.ExceptionInfo]:
    """Expects an error whose message contains all words, such as the argument, its value and the allowed values."""
    with pytest.raises(error) as caught:
        yield caught
    missing = [word for word in map(str, words) if word not in str(caught.value)]
    assert not missing, f'{missing} not in {str(caught.value)!r}'


def remove_masks(folder: Path) -> None:
    """Removes the masks of objects from the annotation files of a COCO folder, which leaves boxes."""
    for path in folder.glob('annotations/*.json'):
        content = json.loads(path.read_text())
        for annotation in content['annotations']:
            del annotation['segmentation']
        path.write_text(json.dumps(content))
