"""Hints for training errors, and the options of a resumed run."""
import errno
import shlex
from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from helpers import raises
from mmengine.config import ConfigDict
from torch import nn

from mmvit_backbones.cli import explain, resume
from mmvit_backbones.cli.train import get_parser
from mmvit_backbones.errors import TrainingError, UnreadableSampleError, UsageError


class Runner(SimpleNamespace):
    def register_hook(self, hook) -> None:
        self.hook = hook


@pytest.fixture
def runner(tmp_path):
    (tmp_path / 'work').mkdir()
    return Runner(model=nn.Linear(2, 2), work_dir=str(tmp_path / 'work'), cfg=ConfigDict(model=dict(backbone={})))


@pytest.mark.parametrize('error, words', [
    (UnreadableSampleError('a.jpg cannot be read'), ['a.jpg', '--on-bad-data skip']),
    (MemoryError('no memory'), ['out of memory', 'Linear', 'no memory']),
    (torch.cuda.OutOfMemoryError('CUDA out of memory'), ['out of memory', 'CUDA']),
    (RuntimeError('DefaultCPUAllocator: cannot allocate'), ['out of memory', 'DefaultCPUAllocator']),
    (OSError(errno.ENOSPC, 'No space left', '/x/epoch_1.pth'), ['/x/epoch_1.pth', 'No space left']),
    (OSError(errno.ENOSPC, 'No space left'), ['work', 'No space left'])])
def test_training_errors_have_hints(error, words, runner):
    with raises(TrainingError, *words), explain.explained_errors(runner):
        raise error


@pytest.mark.parametrize('error', [
    RuntimeError('shapes'), OSError(errno.EIO, 'broken'), ValueError('value'),
    FileNotFoundError(errno.ENOENT, 'no file', '/data/none/a.jpg')])
def test_other_errors_are_unchanged(error, runner):
    with pytest.raises(type(error)) as caught, explain.explained_errors(runner):
        raise error
    assert caught.value is error


def test_a_removed_work_dir_is_named(runner, tmp_path):
    present = FileNotFoundError(errno.ENOENT, 'no file', f'{tmp_path}/work/a.pth')
    with pytest.raises(FileNotFoundError), explain.explained_errors(runner):
        raise present  # only the file is missing
    with raises(TrainingError, f'{tmp_path}/work/time was removed'), explain.explained_errors(runner):
        raise FileNotFoundError(errno.ENOENT, 'no file', f'{tmp_path}/work/time/a.log')


def test_the_batch_is_described(runner):
    hook = explain._ImagesHook()
    assert explain._describe(runner, hook) == 'Linear, before the first batch'
    assert explain._describe(Runner(model=dict(type='x')), hook) == 'before the model was built'
    hook.before_train_iter(runner, 0, dict(inputs=[torch.zeros(3, 8, 20), torch.zeros(3, 16, 4)]))
    for nothing in None, {}, dict(inputs=[]):
        hook.before_train_iter(runner, 1, nothing)
    assert (hook.batch, hook.size) == (2, (16, 20))
    text = explain._describe(runner, hook)
    assert text.startswith('Linear on 2 images of 16 x 20') and '--batch-size' in text


def test_memory_for_the_backbone(runner, monkeypatch):
    from helpers import fresh_model
    from tiny_configs import TINY_CONFIGS
    runner.model = nn.Module()
    runner.model.backbone = fresh_model('ReSwin')
    runner.cfg = ConfigDict(model=dict(backbone=dict(type='ReSwin', **TINY_CONFIGS['ReSwin'])))
    hook = explain._ImagesHook()
    hook.batch, hook.size = 2, (64, 64)
    monkeypatch.setattr(explain, '_per_image', lambda config, size: 2**28 if config.get('with_cp') else 2**30)
    monkeypatch.setattr(explain, '_memory', lambda: 7 * 2**29)
    assert 'only the backbone, 3.5 GiB can hold at most 3 images, or 14 with' in explain._describe(runner, hook)
    runner.cfg.model.backbone.with_cp = True
    assert 'at most 14 images, or 14 with' in explain._describe(runner, hook)


@pytest.mark.skipif(torch.cuda.is_available(), reason='the memory of the GPU is the limit')
@pytest.mark.parametrize('limits, expected', [((-1, -1), None), ((2**20, -1), 2**20), ((2**21, 2**20), 2**20)])
def test_memory_limits_of_the_process(limits, expected, monkeypatch):
    import os
    import resource
    values = dict(zip((resource.RLIMIT_AS, resource.RLIMIT_DATA), limits))
    monkeypatch.setattr('resource.getrlimit', lambda limit: (values[limit], -1))
    assert explain._memory() == (expected or os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))


def parse(*arguments: str) -> Namespace:
    return get_parser().parse_args(['x', *arguments])


@pytest.fixture
def checkpoint(tmp_path):
    """Returns a function that saves a checkpoint with options."""
    def save(**options) -> str:
        torch.save(dict(meta=dict(options=options), state_dict={}, optimizer={}, param_schedulers=[],
                        message_hub={}), tmp_path / 'epoch_1.pth')
        return str(tmp_path / 'epoch_1.pth')

    return save


def test_saved_options():
    """Options that are not given are not saved; 0 is."""
    args = parse('--lr', '0.1', '--freeze', '0', '--amp', '--wandb', '--pretrained', '--cfg-options', 'a=1')
    assert resume.saved_options(args) == dict(
        lr=.1, freeze=0, precision='float16', wandb=True, pretrained=True, cfg_options=dict(a=1))
    assert resume.saved_options(parse()) == dict(cfg_options={})


def test_a_resumed_run_uses_saved_options(checkpoint, capsys):
    """An option on the command line replaces all saved options of its group."""
    path = checkpoint(lr=.1, epochs=7, class_folder='old', seed=0, cfg_options={'a.b': 1, 'c': [1, None, (2., )]})
    cfg = ConfigDict(work_dir='none')
    args = resume.resume_options(parse('--resume', path, '--iters', '9', '--coco-folder', 'new', '--cfg-options', 'd=x',
                                       'a.b=2'), cfg)
    assert (args.resume, args.lr, args.seed, args.iters, args.epochs) == (path, .1, 0, 9, None)
    assert (args.coco_folder, args.class_folder) == ('new', None)
    assert args.cfg_options == {'a.b': 2, 'c': [1, None, (2., )], 'd': 'x'}
    assert f'options saved in {path}: seed=0, lr=0.1' in capsys.readouterr().err
    path = checkpoint(cfg_options={'a.b': 'text', 'c': 1, 'd': ['x', 'y']})
    with raises(UsageError, path, 'a.b=text', '--cfg-options') as caught:
        resume.resume_options(parse('--resume', path), cfg)
    advice = str(caught.value).partition(' with --cfg-options ')[2].partition('; ')[0]
    assert parse('--cfg-options', *shlex.split(advice)).cfg_options == {'a.b': 'text', 'd': ['x', 'y']}
    path = checkpoint(cfg_options={'a.b': 'text', 'c': 1})
    args = resume.resume_options(parse('--resume', path, '--cfg-options', 'a.b=1'), cfg)
    assert args.cfg_options == {'a.b': 1, 'c': 1} and not capsys.readouterr().err
    for options in dict(lr='text'), dict(cfg_options=[1]), dict(unknown=1), dict(seed=.5):
        path = checkpoint(**options)
        with raises(UsageError, path, 'options'):
            resume.resume_options(parse('--resume', path), cfg)


def test_checkpoint_to_resume_from(checkpoint, tmp_path):
    def find(option: str | None, **settings) -> str | None:
        return resume._find_checkpoint(option, ConfigDict(work_dir=str(tmp_path), **settings))

    assert find(None) is None and find('a.pth') == 'a.pth'
    with raises(UsageError, str(tmp_path), 'has no training checkpoint', '--resume auto'):
        find('newest')
    assert find('auto') is None and find(None, resume=True) is None
    path = checkpoint()
    assert find('newest') == find('auto') == find(None, resume=True) == path
    assert find(None, resume=False, load_from='b.pth') is None
    assert find(None, resume=True, load_from='b.pth') == 'b.pth' and find('newest', resume=True, load_from='b') == path
    with raises(UsageError, 'none', 'does not exist'):
        resume._find_checkpoint('newest', ConfigDict(work_dir=str(tmp_path / 'none')))
