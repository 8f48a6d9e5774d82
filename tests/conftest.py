"""Pytest hooks, and fixtures shared by all tests, such as a fixed random seed."""
import gc
import importlib
import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.utils import ManagerMixin

import mmvit.cli

os.environ.setdefault('MPLBACKEND', 'Agg')
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')  # Triton's interpreter runs kernels on CPU tensors


def pytest_addoption(parser):
    parser.addoption('--write-promised', action='store_true',
                     help='add new options, names, keys and weights of networks to the promised lists')


def pytest_collection_modifyitems(items):
    """Runs the longest tests first, because at the end they would leave other pytest-xdist workers idle."""
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ('workflow', 'slow')])


@pytest.fixture
def run(monkeypatch, capsys):
    """Returns a function that runs an `mmvit` subcommand in this process, to save imports, and returns its output."""
    monkeypatch.setenv('LOCAL_RANK', '0')  # the command sets this variable; monkeypatch restores it after the test

    def run(subcommand: str, *arguments: str) -> str:
        mmvit.cli.dispatch([*subcommand.split(), *arguments])
        return capsys.readouterr().out

    return run


@pytest.fixture(scope='module', autouse=True)
def uncollected():
    """Excludes what is imported from MMEngine's garbage collections, which would take half a second per data set."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='module')
def frameworks(uncollected):
    """Imports the frameworks, and excludes them, too."""
    for framework in filter(find_spec, ('mmdet', 'mmseg', 'mmpretrain')):
        importlib.import_module(f'{framework}.datasets')
        importlib.import_module(f'{framework}.models')
    gc.freeze()


@pytest.fixture
def symbolic_shapes():
    """Changes PyTorch settings to speed up torch.compile and torch.export.

    The fake tensor cache is disabled, because lookups with symbolic shapes take longer than recomputing the results.
    Floats, such as stochastic depth rates, are constants from the start, which saves a second trace.
    """
    with torch._dynamo.config.patch(fake_tensor_cache_enabled=False, specialize_float=True):
        yield


@pytest.fixture
def own_loaders(monkeypatch):
    """Restores MMEngine's checkpoint loaders after the test."""
    from mmengine.runner import CheckpointLoader
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))


@pytest.fixture
def logged(caplog, own_mmengine):
    """Captures records of MMEngine's logger, which does not propagate them."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def own_mmengine():
    """Forgets what earlier runners leave behind, such as their visualizers, and closes their log files."""
    forget_runners()
    yield
    forget_runners()


def forget_runners() -> None:
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            handler.close()
    for shared in shared_classes(ManagerMixin):
        shared._instance_dict.clear()


def shared_classes(base: type) -> Iterator[type]:
    """Yields MMEngine's classes whose instances are shared by name, such as loggers, scopes and visualizers."""
    for derived in base.__subclasses__():
        yield derived
        yield from shared_classes(derived)
