"""Runs timm's and Transformers' own tests, which `make test-neighbors` downloads, with the networks of this package.

``LEFT_OUT`` lists their tests that are not run. mmpretrain's own tests are not run, because PyPI does not have them.
"""
import importlib.util
import inspect
import unittest
from types import ModuleType

import pytest
import torch
from helpers import ROOT
from tiny_configs import NAMES, TINY_CONFIGS

timm = pytest.importorskip('timm')
transformers = pytest.importorskip('transformers')
from timm.models import generate_default_cfgs, model_entrypoint, register_model  # noqa: E402

import mmvit_backbones.integrations.timm  # noqa: E402, F401
from mmvit_backbones.integrations.huggingface import MMViTBackbone, MMViTConfig  # noqa: E402

SOURCES = ROOT / '.neighbors'
DOWNLOAD = "downloads timm's own weights"
SCRIPT = 'torch.jit.script does not support the type annotations of the networks'
ONE_MAP = 'requires three maps, but the network has one'
TOKENS = 'requires maps, but the classifier reads tokens'
LEFT_OUT = {  # test -> reason
    'test_model_inference': DOWNLOAD,
    'test_model_load_pretrained': DOWNLOAD,
    'test_model_features_pretrained': DOWNLOAD,
    'test_model_forward_torchscript': SCRIPT,
    'test_model_forward_fx_torchscript': SCRIPT,
    'test_model_forward_torchscript_with_features_fx': SCRIPT,
    'test_model_default_cfgs[RefinerViT]': TOKENS,
    'test_model_forward_features[ReViT]': ONE_MAP,
    'test_model_forward_features[ViTAE, plain]': ONE_MAP,
    'test_model_forward_intermediates[ReViT]': ONE_MAP,
    'test_model_forward_intermediates[ViTAE, plain]': ONE_MAP,
    'test_config': "requires a stage 'stem', but the first stage is 'stage0' here",
}


def published(package: ModuleType, name: str) -> ModuleType | None:
    """Returns a module of a package's tests, or None if the sources of the package have not been downloaded."""
    path = SOURCES / f'{package.__name__}-{package.__version__}' / 'tests' / f'{name}.py'
    if not path.exists():
        return None
    spec = importlib.util.spec_from_file_location(f'{package.__name__}_{name}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tiny_name(network: str) -> str:
    return f'tiny_{NAMES[network]}'


def register_tiny(network: str) -> None:
    entry_point = model_entrypoint(f'mmvit_{NAMES[network]}')
    config = {key: value for key, value in TINY_CONFIGS[network].items() if key not in ('type', 'stage_norm')}

    def create(**arguments) -> torch.nn.Module:
        return entry_point(**{**config, **arguments})

    create.__name__ = tiny_name(network)
    register_model(create)


default_cfgs = generate_default_cfgs({tiny_name(network): dict(input_size=(3, 224, 224)) for network in NAMES})
TIMM, TRANSFORMERS = published(timm, 'test_models'), published(transformers, 'test_backbone_common')
needs_sources = pytest.mark.skipif(TIMM is None or TRANSFORMERS is None,
                                   reason='needs the sources that make test-neighbors downloads')


def cases_of_timm() -> list[str]:
    return [name for name, value in vars(TIMM).items() if name.startswith('test_') and inspect.isfunction(value)
            and 'model_name' in inspect.signature(value).parameters] if TIMM else ['test_model_forward']


@pytest.fixture(scope='module')
def tiny_networks() -> None:
    for network in NAMES:
        register_tiny(network)


@needs_sources
@pytest.mark.slow
@pytest.mark.usefixtures('tiny_networks')
@pytest.mark.parametrize('network', sorted(NAMES))
@pytest.mark.parametrize('case', [name for name in cases_of_timm() if name not in LEFT_OUT])
def test_case_of_timm(case, network):
    if reason := LEFT_OUT.get(f'{case}[{network}]'):
        pytest.skip(reason)
    getattr(TIMM, case)(tiny_name(network), batch_size=2)


class ModelTester:
    """Returns a config and images, in the interface of Transformers' tests."""

    def prepare_config_and_inputs_for_common(self) -> tuple[MMViTConfig, dict[str, torch.Tensor]]:
        backbone = {'type': 'ReSwin', **TINY_CONFIGS['ReSwin']}
        return MMViTConfig(backbone, out_indices=[1, 2]), dict(pixel_values=torch.randn(2, 3, 64, 96))


@needs_sources
@pytest.mark.slow
def test_backbone_cases_of_transformers():
    class Backbones(TRANSFORMERS.BackboneTesterMixin, unittest.TestCase):
        all_model_classes = (MMViTBackbone, )
        config_class = MMViTConfig
        has_attentions = False
        model_tester = ModelTester()

    cases = [name for name in unittest.TestLoader().getTestCaseNames(Backbones) if name not in LEFT_OUT]
    result = unittest.TestSuite(map(Backbones, cases)).run(unittest.TestResult())
    problems = [text for _, text in [*result.errors, *result.failures]]
    assert result.testsRun == len(cases) > 5 and not problems, '\n'.join(problems)
