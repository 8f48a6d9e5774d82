"""Fixtures of all tests: verbs to run, a fixed seed."""
import gc
import importlib
import os
from collections import Counter

import pytest
import torch

import mmvit

os.environ.setdefault('MPLBACKEND', 'Agg')
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')  # Triton's kernels run on CPU tensors


def pytest_collection_modifyitems(items):
    """Runs trainings first: a long test at the end would keep the other processes waiting."""
    items.sort(key=lambda item: item.get_closest_marker('training') is None)


def pytest_terminal_summary(terminalreporter):
    """Ends the run with one line per reason of skipped tests, and their number."""
    skipped = [report.longrepr[2] for report in terminalreporter.stats.get('skipped', ())
               if isinstance(report.longrepr, tuple)]  # not of an expected failure
    reasons = Counter(' '.join(reason.removeprefix('Skipped: ').split()) for reason in skipped)
    for reason, number in sorted(reasons.items()):
        terminalreporter.write_line(f'skipped {number}: {reason}')


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs `mmvit VERB ARGUMENTS` in this process, which saves imports, and returns its output."""
    monkeypatch.setenv('LOCAL_RANK', '0')  # which the command sets

    def run(verb: str, *arguments: str) -> str:
        mmvit.main([*verb.split(), *arguments])
        return capsys.readouterr().out

    return run


@pytest.fixture(scope='module')
def frozen():
    """Keeps the frameworks from the garbage collector, which MMEngine calls for every data set, for half a second."""
    for framework in ('mmdet', 'mmseg', 'mmpretrain'):
        importlib.import_module(f'{framework}.datasets')
        importlib.import_module(f'{framework}.models')
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def symbolic_shapes():
    """Disables a cache of torch: looking up symbolic shapes takes longer than deriving them again.

    Rates of stochastic depth are constants: of other floats, torch finds out by tracing twice.
    """
    with torch._dynamo.config.patch(fake_tensor_cache_enabled=False, specialize_float=True):
        yield


@pytest.fixture
def own_loaders(monkeypatch):
    """Restores the loaders of mmengine after the test."""
    from mmengine.runner import CheckpointLoader
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))


@pytest.fixture
def logged(caplog):
    """Captures MMEngine's logger, which does not propagate."""
    from mmengine.logging import MMLogger
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
