"""What trainings and tests show: those of recipes what a person needs, others all of OpenMMLab's log."""
from pathlib import Path
from shlex import quote

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from runs import TINY, Run
from runs import train as start
from tiny_runs import Line, loader_of, log_of, runner_of

from mmvit.running.terminal import count_if_few, shown_briefly
from mmvit.utils.tables import show_metrics
from mmvit_backbones.zoo.reading import read_file

HIDDEN = 'Saving checkpoint at 3 epochs', 'System environment', 'Hooks will be executed', 'Exp name'


@pytest.fixture(scope='module')
def config(tmp_path_factory) -> Path:
    """Returns the tiny classifier's config as a recipe."""
    path = tmp_path_factory.mktemp('config') / 'shown.py'
    path.write_text(f"""
_base_ = {str(TINY)!r}
recipe = dict(network='rest_lite')
custom_imports = dict(imports=['printing_hook'])
custom_hooks = [dict(type='ExactResumeHook'), dict(type='OwnFilesHook'), dict(type='PrintingHook')]
default_hooks = dict(checkpoint=dict(save_best='accuracy/top1'))
val_evaluator = test_evaluator = [dict(type='Accuracy'), dict(type='PerClassAccuracy')]
randomness = dict(seed=0)
""")
    return path


@pytest.fixture(scope='module')
def trained(config, tmp_path_factory) -> tuple[str, Path]:
    """Returns what a training shows, and its work dir."""
    place = tmp_path_factory.mktemp('terminal')
    run = start(place / 'epoch_50', config=config)
    assert run.wait(200) == 0, run.text
    return run.text, place / 'epoch_50'


@pytest.mark.workflow
def test_a_training_shows_its_steps_and_what_comes_next(trained):
    """An epoch of few steps has one line; the figures by class are those of the best validation."""
    shown, work_dir = trained
    lines = shown.splitlines()
    for epoch in 1, 2, 3:
        assert sum(f'epoch {epoch} of 3' in line and 'loss ' in line and ' left' in line for line in lines) == 1
        assert sum(line.startswith('validation') and f'epoch {epoch} ' in line and 'accuracy/top1' in line
                   for line in lines) == 1
    assert not any(text in shown for text in (*HIDDEN, 'of another library'))
    for text in 'printed by MMEngine', 'logged as a warning':
        assert shown.count(text) == log_of(work_dir).count(text) == 1
    best, = (line for line in lines if line.startswith('best '))
    file = work_dir / best.rpartition('/')[2]
    epoch = read_file(file)['meta']['epoch']
    assert file.name.startswith('best_accuracy_top1_epoch') and f'after epoch {epoch}:' in best
    assert lines.index(best) < lines.index('accuracy by class:') and shown.count('accuracy by class') == 1
    assert (work_dir / 'curves.png').is_file() and any('curves.png' in line for line in lines[-5:])
    assert all(f'mmvit {command}' in ' '.join(lines[-4:]) for command in ('test', 'predict IMAGE', 'export'))
    assert quote(str(work_dir)) in lines[-2]
    log = log_of(work_dir)
    assert log.count('Epoch(train)') == 12 and all(text in log for text in HIDDEN)


@pytest.mark.workflow
def test_the_time_is_told_from_the_first_steps(trained):
    """Twelve steps, of which seven follow then, with two of three validations."""
    shown, _ = trained
    told, = (line for line in shown.splitlines() if line.startswith('time '))
    assert ' 7 steps' in told and ' 2 validations' in told


@pytest.mark.workflow
def test_other_configs_and_verbose_show_the_whole_log(trained, config, tmp_path):
    """Also with the hooks of recipes."""
    own = tmp_path / 'own.py'
    own.write_text(f"_base_ = {str(TINY)!r}\ncustom_hooks = [dict(type='ExactResumeHook'), dict(type='OwnFilesHook')]")
    verbose, other = start(tmp_path / 'verbose', '--verbose', config=config), start(tmp_path / 'other', config=own)
    assert [run.wait(200) for run in (verbose, other)] == [0, 0]
    weights = [read_file(place / 'epoch_3.pth')['state_dict'] for place in (tmp_path / 'verbose', trained[1])]
    assert all(torch.equal(x, weights[1][name]) for name, x in weights[0].items())  # timing changes nothing
    for run, work_dir in (verbose, tmp_path / 'verbose'), (other, tmp_path / 'other'):
        assert all(text in run.text for text in HIDDEN)
        steps = [line.rpartition(' - ')[2] for line in log_of(work_dir).splitlines() if 'Epoch(' in line]
        assert len(steps) >= 15 and all(step in run.text for step in steps)


@pytest.mark.workflow
def test_a_test_ends_with_tables_of_classes_and_metrics(trained, config, tmp_path):
    _, work_dir = trained
    run = Run(tmp_path / 'log.txt', 'test', config, work_dir / 'epoch_3.pth', '--work-dir', tmp_path / 'test',
              '--show-dir', tmp_path / 'drawn')
    assert run.wait(100) == 0, run.text
    rows = [line.split() for line in run.text.splitlines()]
    values = {row[0]: row[1] for row in rows if len(row) == 2}
    assert {'accuracy/top1', 'mean_class_accuracy'} <= values.keys()
    assert ['4', 'daisy'] in [row[-2:] for row in rows]  # 4 images of the first class
    assert 'Epoch(test)' in run.text and not any(text in run.text for text in HIDDEN)
    for label in 'drawings: ', 'log and metrics: ':
        named, = (line.partition(label)[2] for line in run.text.splitlines() if label in line)
        assert any(Path(named).iterdir())


class Accuracy(BaseMetric):
    """Prints, as pycocotools does; one score rises, the other one falls."""

    count = 0

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict[str, float]:
        print('Average Precision  (AP) @[ IoU=0.50:0.95 ]')
        self.count += 1
        return {'acc': 0.5 + self.count / 8, 'iou': 0.5 - self.count / 8}


class Warning(Hook):
    """Warns in the second step."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == 1:
            runner.logger.warning('the disk is nearly full')


def shown_of(place, capsys, default_scope: str = 'mmpretrain', **changes) -> str:
    """Returns what a training of three epochs shows, which warns."""
    runner = runner_of(place, model=Line(), custom_hooks=[dict(type='OwnFilesHook'), Warning()], **changes)
    runner.cfg = Config(dict(runner.cfg, default_scope=default_scope))
    capsys.readouterr()
    with shown_briefly(runner, is_training=True):
        runner.train()
    return capsys.readouterr().out


def test_warnings_are_shown_and_prints_of_metrics_are_not(tmp_path, capsys):
    """Each metric that selects a checkpoint has a line, also in a training that goes on."""
    saves = dict(checkpoint=dict(type='CheckpointHook', interval=1, save_best=['acc', 'iou'], rule='greater'))
    tests = dict(val_dataloader=loader_of(), val_cfg={}, default_hooks=saves)
    shown = shown_of(tmp_path, capsys, val_evaluator=Evaluator(Accuracy()), **tests)
    assert 'the disk is nearly full' in shown and 'Average Precision' not in shown and 'epoch 3 of 3' in shown
    print('afterwards')
    assert 'afterwards' in capsys.readouterr().out
    resumed = shown_of(tmp_path, capsys, val_evaluator=Evaluator(Accuracy()), resume=True, **tests,
                       load_from=str(tmp_path / 'epoch_2.pth'))
    for text, acc in (shown, '0.875'), (resumed, '0.625'):  # the best one of epoch 2 is gone, that of epoch 1 is there
        best = [line.split(': ')[0].split()[1:] for line in text.splitlines() if line.startswith('best ')]
        assert best == [f'acc {acc} after epoch 3'.split(), 'iou 0.375 after epoch 1'.split()]


def test_the_metric_of_auto_is_named_where_nothing_is_left_to_train(tmp_path, capsys):
    saves = dict(checkpoint=dict(type='CheckpointHook', interval=1, save_best='auto', rule='greater'))
    tests = dict(val_dataloader=loader_of(), val_cfg={}, default_hooks=saves, val_evaluator=Evaluator(Accuracy()))
    texts = [shown_of(tmp_path, capsys, **tests),
             shown_of(tmp_path, capsys, **tests, resume=True, load_from=str(tmp_path / 'epoch_3.pth'))]
    for text in texts:
        assert [line.split()[1:3] for line in text.splitlines() if line.startswith('best ')] == [['acc', '0.875']]


class Falling(Accuracy):
    """Has a box AP that is the highest after the first epoch."""

    default_prefix = 'coco'

    def compute_metrics(self, results: list) -> dict[str, float]:
        self.value = getattr(self, 'value', 0.41702) - 0.01
        return {'bbox_mAP': self.value}


def test_the_last_value_stands_beside_the_best_of_few_images(tmp_path, capsys):
    best = dict(type='CheckpointHook', interval=1, save_best='coco/bbox_mAP')
    shown = shown_of(tmp_path, capsys, 'mmdet', val_dataloader=loader_of(), val_cfg={},
                     val_evaluator=Evaluator(Falling()), default_hooks=dict(checkpoint=best))
    best, last = shown.splitlines()[-2:]
    assert best.startswith('best ') and 'coco/bbox_mAP 40.7 % after epoch 1' in best
    assert last.startswith('last ') and 'coco/bbox_mAP 38.7 %' in last and 'validation images' in last


class Objects(BaseDataset):
    """Images with so many objects each."""

    def load_data_list(self) -> list[dict]:
        images, objects = self.metainfo['numbers']
        return [dict(instances=[{}] * objects) for _ in range(images)]


@pytest.mark.parametrize(('images', 'objects', 'told'), [(19, 9, '19 '), (20, 2, '40 '), (20, 3, '')])
def test_few_images_or_objects_are_counted(images, objects, told):
    found = count_if_few(Objects(metainfo=dict(numbers=(images, objects))))
    assert found.startswith(told) and bool(found) == bool(told)


def test_tables_leave_out_sizes_that_no_object_has(capsys):
    show_metrics({'coco/bbox_mAP': 0.375, 'coco/bbox_mAP_s': -1., 'coco/[b]_precision': 0.25})
    assert capsys.readouterr().out.split() == 'metric value coco/bbox_mAP 0.375 coco/[b]_precision 0.25'.split()
