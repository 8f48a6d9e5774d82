"""Training runs with injected faults: printed errors, remaining files and exact resuming."""
import os
import re
import resource
import shutil
import signal
from pathlib import Path

import mmpretrain
import pytest
import torch
from helpers import ROOT, raises
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from runs import CONTEXT, TINY, Run, assert_same_weights, fill_disk, limit_memory, signal_twice, train

from mmvit_backbones.errors import TrainingError, UsageError
from mmvit_backbones.inference import Predictor
from mmvit_backbones.training import FiniteLossHook
from mmvit_backbones.training.finite import first_non_finite
from mmvit_backbones.training.label_check import check_labels
from mmvit_backbones.training.resume import config_changes, find_intact_checkpoint
from mmvit_backbones.training.work_dir import lock_work_dir

pytestmark = pytest.mark.training


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Returns the work dir of an uninterrupted run."""
    work_dir = tmp_path_factory.mktemp('whole') / 'whole'
    run = train(work_dir)
    assert run.wait() == 0, run.text
    return work_dir


def stopped_after(whole, work_dir, epochs):
    """Returns a work dir that looks as if the machine had crashed after some epochs."""
    work_dir.mkdir()
    for epoch in range(1, epochs + 1):
        shutil.copy2(whole / f'epoch_{epoch}.pth', work_dir)
    (work_dir / 'last_checkpoint').write_text(str(work_dir / f'epoch_{epochs}.pth'))
    return work_dir


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


# ---- checkpoints


def test_newest_intact_checkpoint_is_resumed(whole, tmp_path):
    work_dir = stopped_after(whole, tmp_path / 'work', 2)
    cut(work_dir / 'epoch_2.pth')
    run = train(work_dir, '--resume')
    assert run.wait() == 0, run.text
    assert run.text.count('set aside as epoch_2.pth.damaged: ') == 1
    assert_same_weights(whole / 'epoch_3.pth', work_dir / 'epoch_3.pth')


def test_damage_inside_a_tensor_is_found(whole, tmp_path, capsys):
    work_dir = stopped_after(whole, tmp_path / 'work', 2)
    content = bytearray((work_dir / 'epoch_2.pth').read_bytes())
    content[len(content) // 2] ^= 1  # in a tensor, where torch.load does not detect the damage
    (work_dir / 'epoch_2.pth').write_bytes(content)
    assert find_intact_checkpoint(work_dir) == str(work_dir / 'epoch_1.pth')
    assert capsys.readouterr().err.count('\n') == 1
    cut(work_dir / 'epoch_1.pth')
    with raises(UsageError, work_dir):
        find_intact_checkpoint(work_dir)


def test_full_disk_leaves_the_older_checkpoint(whole, tmp_path):
    work_dir = stopped_after(whole, tmp_path / 'work', 1)
    limits = {resource.RLIMIT_FSIZE: (whole / 'epoch_1.pth').stat().st_size // 2}
    only_last = ['default_hooks.checkpoint.max_keep_ckpts=1', 'default_hooks.checkpoint.save_best=None']
    run = train(work_dir, '--resume', *only_last, limits=limits)
    assert run.wait() == 1
    assert 'epoch_2.pth' in run.error and 'MiB needed' in run.error and 'on_error=continue' in run.error
    assert sorted(path.name for path in work_dir.glob('*.pth*')) == ['epoch_1.pth']
    run = train(work_dir, '--resume', *only_last, 'default_hooks.checkpoint.on_error=continue',
                'default_hooks.label_check=None', limits=limits)
    assert run.wait() == 0 and run.text.count('training continues without it') == 2, run.text
    assert sorted(path.name for path in work_dir.glob('*.pth*')) == ['epoch_1.pth']
    assert_same_weights(whole / 'epoch_1.pth', work_dir / 'epoch_1.pth')


def test_full_disk_stops_before_the_first_step(tmp_path):
    run = train(tmp_path / 'work', before=fill_disk)
    assert run.wait() == 1 and 'has no room for a checkpoint' in run.error and '0 MiB free' in run.error
    assert 'Epoch(train)' not in run.text


def test_removed_work_dir_ends_in_one_line(tmp_path):
    run = train(tmp_path / 'work')
    run.wait_for('Epoch(train) [1][2/4]')
    shutil.rmtree(tmp_path / 'work')
    assert run.wait() == 1 and 'was removed during training' in run.error


def test_nothing_to_resume_is_an_error(tmp_path):
    for state in ('does not exist', 'has no training checkpoint'):
        run = train(tmp_path / 'work', '--resume')
        assert run.wait() == 1 and 'nothing to resume' in run.error and state in run.error
        assert '--resume auto' in run.error
        assert (tmp_path / 'work').exists() == (state != 'does not exist')
        (tmp_path / 'work').mkdir(exist_ok=True)


# ---- NaN


@pytest.mark.parametrize('max_steps, what', [(3, 'for 3 steps'), (100, 'not saved')])
def test_training_that_diverges_stops(max_steps, what, tmp_path):
    run = train(tmp_path / 'work', 'optim_wrapper.optimizer.lr=1e30',
                f'default_hooks.finite_loss.max_steps={max_steps}')
    assert run.wait() == 1
    assert what in run.error and 'the first parameter with NaN or inf is backbone.' in run.error
    assert 'learning rate' in run.error and 'clip_grad' in run.error
    assert not list((tmp_path / 'work').glob('*.pth*'))


def test_overflow_of_float16_is_no_error():
    """The second of three steps overflows, and the gradient scaler skips it."""
    model, hook = torch.nn.Linear(1, 1), FiniteLossHook(max_steps=2)
    scaler = torch.amp.GradScaler('cpu', init_scale=64.)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for value in (1., 1e5, 1.):  # the largest float16 is 65504
        before = model.weight.detach().clone()
        with torch.autocast('cpu', torch.float16):
            loss = (model(torch.full((1, 1), value)).float() - 3).square().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        hook.after_train_iter(None, 0, outputs=dict(loss=loss))
        assert loss.isfinite() == (value == 1) != torch.equal(model.weight, before)
        assert first_non_finite(model) is None


# ---- signals


def test_interrupted_training_is_resumed_exactly(whole, tmp_path):
    """The interruptions are within epochs; the interrupted runs have workers, and the uninterrupted run has none."""
    work_dir = tmp_path / 'work'
    for number, code, place, workers in [(signal.SIGKILL, -9, '[2][2/4]', 2), (signal.SIGTERM, 143, '[2][2/4]', 2),
                                         (signal.SIGINT, 130, '[3][1/', 1)]:
        run = train(work_dir, '--resume=auto', f'train_dataloader.num_workers={workers}')
        run.wait_for(f'Epoch(train) {place}')
        run.signal(number)
        assert run.wait() == code, run.text
        if code > 0:  # after SIGKILL, the remaining workers may print errors
            assert 'Traceback' not in run.text and f'{number.name}: stopped after iteration' in run.text
    run = train(work_dir, '--resume')
    assert run.wait() == 0, run.text
    assert_same_weights(whole / 'epoch_3.pth', work_dir / 'epoch_3.pth')


def config_by_iterations(folder, max_iters):
    config = folder / 'iterations.py'
    config.write_text(f"""
_base_ = '{TINY}'
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters={max_iters}, val_interval=4)
train_dataloader = dict(sampler=dict(_delete_=True, type='InfiniteSampler'))
param_scheduler = dict(_delete_=True, type='LinearLR', start_factor=0.1, by_epoch=False, end=10)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4), logger=dict(log_metric_by_epoch=False))
log_processor = dict(by_epoch=False)
""")
    return config


def test_interrupted_training_by_iterations_is_resumed_exactly(tmp_path):
    config = config_by_iterations(tmp_path, 10)
    undisturbed = train(tmp_path / 'whole', config=config)
    assert undisturbed.wait() == 0, undisturbed.text
    run = train(tmp_path / 'work', 'train_dataloader.num_workers=2', config=config)
    run.wait_for('Iter(train) [ 6/10]')
    run.signal(signal.SIGTERM)
    assert run.wait() == 143, run.text
    run = train(tmp_path / 'work', '--resume', 'train_dataloader.num_workers=1', config=config)
    assert run.wait() == 0, run.text
    assert_same_weights(tmp_path / 'whole/iter_10.pth', tmp_path / 'work/iter_10.pth')


def test_hooks_in_a_training_by_the_frameworks_own_script(tmp_path):
    """The config saved by a run enables the hooks. MMEngine resumes from the checkpoint named in `last_checkpoint`."""
    script = Path(mmpretrain.__path__[0], '.mim/tools/train.py')
    if not script.exists():
        pytest.skip('mmpretrain was installed without its scripts')
    whole = train(tmp_path / 'whole')
    assert whole.wait() == 0, whole.text
    config = tmp_path / 'whole' / TINY.name
    options = ['--no-persistent-workers', '--cfg-options', 'randomness.seed=7']
    run = Run(tmp_path / 'first.txt', script, config, '--work-dir', tmp_path / 'work', *options)
    run.wait_for('Epoch(train) [2][1/4]')
    run.signal(signal.SIGTERM)
    assert run.wait() == 143, run.text
    run = Run(tmp_path / 'second.txt', script, config, '--work-dir', tmp_path / 'work', '--resume', *options)
    assert run.wait() == 0, run.text
    assert_same_weights(tmp_path / 'whole/epoch_3.pth', tmp_path / 'work/epoch_3.pth')
    predictor = Predictor(tmp_path / 'work/epoch_3.pth')  # needs no config
    assert predictor.classes == sorted(predictor.classes) and len(predictor.classes) == 5
    found, = predictor(next((ROOT / 'data/flowers_mini/val').rglob('*.jpg')))
    assert found.scores.shape == (5, )


def test_second_signal_ends_at_once():
    process = CONTEXT.Process(target=signal_twice)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGTERM


# ---- killed processes


def workers_of(run):
    """Returns the ids of the data loader's worker processes."""
    children = Path(f'/proc/{run.process.pid}/task/{run.process.pid}/children').read_text().split()
    return [int(child) for child in children if name_of(child) == 'pt_data_worker']


def name_of(process):
    try:
        return Path(f'/proc/{process}/comm').read_text().strip()
    except FileNotFoundError:
        return None


def test_killed_worker_ends_the_training(tmp_path):
    """Uses iteration-based training, because in an epoch the workers may already have finished."""
    run = train(tmp_path / 'work', 'train_dataloader.num_workers=2', 'train_cfg.val_interval=100000',
                config=config_by_iterations(tmp_path, 100000))
    run.wait_for('Iter(train) [     2/100000]')
    workers = workers_of(run)
    os.kill(workers[0], signal.SIGKILL)
    assert len(workers) == 2 and run.wait(60) == 1
    assert 'data loader worker' in run.error and re.search('killed|exited unexpectedly', run.error)
    assert not any(name_of(worker) == 'pt_data_worker' for worker in workers)


# ---- data


@pytest.fixture
def bad_flowers(tmp_path):
    """Sixteen flowers, one of which is a text file; returns the path of that file."""
    names = sorted((ROOT / 'data/flowers_mini/train').glob('*/*.jpg'))[::15]
    for name in names:
        (tmp_path / 'flowers/train' / name.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(name, tmp_path / 'flowers/train' / name.parent.name)
    bad = tmp_path / 'flowers/train' / names[5].parent.name / names[5].name
    bad.write_text('no image')
    return bad


def test_unreadable_image(bad_flowers, tmp_path):
    options = [f'train_dataloader.dataset.data_root={tmp_path / "flowers"}', 'train_cfg.max_epochs=2',
               'train_dataloader.num_workers=2']
    run = train(tmp_path / 'work', *options)
    assert run.wait() == 1
    assert str(bad_flowers) in run.error and '--on-bad-data skip' in run.error
    run = train(tmp_path / 'work', '--on-bad-data', 'skip', *options)
    assert run.wait() == 0, run.text
    assert run.text.count('another sample is used. Unreadable samples so far: 1') >= 1


def test_labels_without_a_class(tmp_path):
    run = train(tmp_path / 'work', 'model.head.num_classes=3', 'train_dataloader.dataset.indices=240')
    assert run.wait() == 1
    assert 'flowers_mini/train' in run.error and 'the model has the classes 0 to 2' in run.error


def test_mask_labels_without_a_class():
    """A single pixel with an invalid label is enough; 255 is ignored."""
    model = MODELS.build(dict(type='mmseg.FCNHead', in_channels=4, channels=4, num_classes=3, num_convs=0,
                              concat_input=False))
    model = torch.nn.ModuleDict(dict(decode_head=model))
    model.decode_head = model['decode_head']
    mask = torch.full((1, 4, 4), 255)
    sample = SegDataSample(gt_sem_seg=PixelData(data=mask), metainfo=dict(seg_map_path='a.png'))
    check_labels(model, sample)
    mask[0, 1, 2] = 3
    with raises(TrainingError, 'a.png', '3', '0 to 2'):
        check_labels(model, sample)


# ---- other work dirs and configs


def test_work_dir_of_another_run(tmp_path):
    with lock_work_dir(str(tmp_path)):
        run = train(tmp_path)
        assert run.wait() == 1
        assert f'in use by process {os.getpid()} on' in run.error
    with lock_work_dir(str(tmp_path)):
        pass
    with raises(UsageError, '/proc/work'):
        lock_work_dir('/proc/work')


def test_finished_training_is_not_changed(whole, tmp_path):
    work_dir = stopped_after(whole, tmp_path / 'work', 3)
    run = train(work_dir, '--resume')
    assert run.wait() == 0 and 'training of 3 epochs has already finished' in run.text, run.text
    assert_same_weights(whole / 'epoch_3.pth', work_dir / 'epoch_3.pth')


def test_changes_of_a_config():
    before = "a = dict(b=1, c=[dict(type='X', d=2)])\nwork_dir = 'x'\n"
    now = "a = dict(b=1, c=[dict(type='X', d=3)], e=-inf)\nwork_dir = 'y'\n"
    assert list(config_changes(before, before)) == []
    assert list(config_changes(before, now)) == ['a.c.0.d: 2 -> 3', 'a.e: not set -> -inf']


# ---- memory


def test_out_of_memory(tmp_path):
    run = train(tmp_path / 'work', '--batch-size', 16, 'train_dataloader.dataset.pipeline.1.scale=896',
                before=limit_memory)
    assert run.wait() == 1
    assert 'ReSwin on 16 images of 896 x 896' in run.error and '--batch-size' in run.error and 'with_cp' in run.error
