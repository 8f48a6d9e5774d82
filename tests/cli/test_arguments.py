"""Arguments and config options are checked before a subcommand starts its work."""
import pytest
from helpers import ROOT
from runs import TINY, train
from verbs import call, module_of

from mmvit_backbones.errors import UsageError


@pytest.mark.parametrize('verb, option, value', [
    ('train', '--seed', '-1'), ('train', '--seed', str(2**32)), ('train', '--lr', 'inf'), ('train', '--lr', 'nan'),
    ('train', '--lr', '0'), ('train', '--epochs', '9' * 20), ('train', '--epochs', '1.5'), ('train', '--iters', '0'),
    ('train', '--max-skipped', '-1'), ('train', '--batch-size', '0'), ('train', '--work-dir', '/proc/x'),
    ('train', '--work-dir', str(TINY)), ('train', '--work-dir', f'{TINY}/work'), ('train', '--work-dir', ''),
    ('train', '--val-fraction', '1'), ('test', '--wait-time', '-1'), ('serve', '--port', '65536'),
    ('flops', '--size', '-3'), ('predict', '--score-thr', 'nan'), ('train', '--cfg-options', 'a')])
def test_parser_rejects_wrong_values(verb, option, value, capsys):
    with pytest.raises(SystemExit) as ended:
        module_of(verb).get_parser().parse_args(['x', option, value])
    assert ended.value.code == 2
    assert option in capsys.readouterr().err.splitlines()[-1]


def test_checking_a_work_dir_does_not_create_it(tmp_path):
    args = module_of('train').get_parser().parse_args(['x', '--work-dir', str(tmp_path / 'a/b'), '--seed', '0'])
    assert args.work_dir == str(tmp_path / 'a/b') and not list(tmp_path.iterdir())


@pytest.mark.parametrize('option, words', [
    ('modle.head=1', ['modle', 'model']), ('model=3', ['model', 'a dict', '3']), ('model=None', ['model', 'None']),
    ('train_dataloader.batch_sise=4', ['batch_sise', 'batch_size']),
    ('train_dataloader.num_workers=-1', ['num_workers', 'at least 0', '-1']),
    ('optim_wrapper.optimizer.lrr=4', ['lrr', 'lr']), ('optim_wrapper.optimizer.type=AdamX', ['AdamX', 'Adam']),
    ('optim_wrapper.optimizer.lr=-1', ['optimizer', '-1']), ('optim_wrapper.optimizer.lr=x', ['lr', 'a number', 'x']),
    ('optim_wrapper.optimizer.betas=3', ['optim_wrapper.optimizer']), ('train_cfg.max_epoch=3', ['max_epochs']),
    ('train_cfg.max_epochs=2.5', ['max_epochs', 'integer', '2.5']), ('param_scheduler.0.end=-4', ['param_scheduler.0']),
    ('model.head.num_clases=3', ['num_clases', 'num_classes']), ('randomness.sed=3', ['sed', 'seed']),
    ('optim_wrapper.clip_grad.max_nrm=3', ['max_nrm', 'max_norm']),
    ('data_preprocessor.mean=3', ['data_preprocessor.mean', 'a list', '3']),
    ('model.backbone.arch.depths=[]', ['model.backbone']), ('model.backbone.arch.embed_dims=-12', ['model.backbone']),
    ('default_hooks.checkpoint.max_kep_ckpts=3', ['max_kep_ckpts', 'max_keep_ckpts'])])
def test_unknown_or_invalid_config_options_are_errors(option, words, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UsageError) as error:
        call('train', TINY, '--check', '--work-dir', tmp_path / 'work', '--cfg-options', option)
    assert all(word in str(error.value) for word in words), error.value


def test_config_options_may_be_missing_in_the_config(tmp_path, monkeypatch):
    """Options can be arguments of a class, or of its base class if the class passes ``**kwargs`` to the base class."""
    monkeypatch.chdir(ROOT)
    call('train', TINY, '--check', '--work-dir', tmp_path / 'work', '--cfg-options', 'optim_wrapper.optimizer.eps=1e-7',
         'default_hooks.checkpoint.save_last=False', 'train_dataloader.pin_memory=True', 'model.head.topk=1',
         'train_dataloader.dataset.pipeline.1.scale=64', 'default_hooks.label_check=None', 'load_from=None',
         'train_cfg.val_begin=2', 'randomness.deterministic=True', 'optim_wrapper.clip_grad=None')


@pytest.mark.parametrize('option, words', [
    ('default_hooks.logger.interval=0', ['LoggerHook', 'interval']), ('log_level=loud', ['logger', 'loud']),
    ('custom_hooks=EMAHook', ['custom_hooks']), ('train_dataloader.timeout=-1', ['dataloader', 'timeout']),
    ('env_cfg.mp_cfg.mp_start_method=x', ['env', "'x'"]),
    ('train_dataloader.dataset.pipeline.1.scale=-5', ['RandomResizedCrop'])])
def test_parts_that_cannot_be_built_are_reported_in_one_line(option, words, tmp_path):
    run = train(tmp_path / 'work', option)
    assert run.wait() == 1
    assert all(word in run.error for word in words), run.error
