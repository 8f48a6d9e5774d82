"""Errors of what MMEngine's runners build name the setting."""
import pytest
from helpers import raises
from tiny_runs import loader_of, runner_of

from mmvit_backbones.errors import UsageError


@pytest.mark.parametrize('kind', ['Runner', 'FlexibleRunner'])
@pytest.mark.parametrize('setting, value', [
    ('optim_wrapper', dict(optimizer=dict(type='SGD', lr='fast'))),
    ('param_scheduler', [dict(type='PolyLR', begin=5, end=3)]),
    ('train_dataloader', loader_of(num_workers=-1)), ('train_cfg', dict(by_epoch=True, max_epochs='many'))])
def test_parts_that_cannot_be_built(kind, setting, value, tmp_path):
    """With a strategy, that builds the optimizer."""
    with raises(UsageError, f'{setting} cannot be used'):
        runner_of(tmp_path, kind, **{setting: value}).train()
