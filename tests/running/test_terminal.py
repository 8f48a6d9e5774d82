"""What trainings and tests show: those of recipes a bar and what a person needs, others OpenMMLab's log."""
import logging
import re
import sys
from pathlib import Path
from shlex import quote

import pytest
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from runs import TINY, Run
from runs import train as start
from terminals import shown_in_a_terminal
from tiny_runs import Line, loader_of, log_of, runner_of

from mmvit.running.terminal import short_metrics, shown_in_terminal
from mmvit.utils.tables import show_metrics

BAR = re.compile(r'training .*\d+/12')
SAVED = 'Saving checkpoint at 3 epochs'
DUMPED = 'System environment', 'Hooks will be executed', 'Exp name'


@pytest.fixture(scope='module')
def config(tmp_path_factory) -> Path:
    """Returns the tiny classifier's config as a recipe."""
    path = tmp_path_factory.mktemp('config') / 'shown.py'
    path.write_text(f"""
_base_ = {str(TINY)!r}
recipe = dict(network='rest_lite')
custom_hooks = [dict(type='ExactResumeHook'), dict(type='OwnFilesHook')]
default_hooks = dict(checkpoint=dict(save_best='accuracy/top1'))
test_evaluator = [dict(type='Accuracy'), dict(type='PerClassAccuracy')]
""")
    return path


@pytest.fixture(scope='module')
def trained(config, tmp_path_factory) -> tuple[str, Path]:
    """Returns what a training shows in a terminal, and its work dir."""
    work_dir = tmp_path_factory.mktemp('terminal') / 'work'
    return shown_in_a_terminal('train', config, '--work-dir', work_dir), work_dir


@pytest.mark.workflow
def test_a_terminal_shows_a_bar_and_what_comes_next(trained):
    shown, work_dir = trained
    lines = shown.split('\r\n')
    assert BAR.search(shown)
    assert [sum(f'epoch {epoch}, loss ' in line and 'accuracy/top1' in line for line in lines)
            for epoch in (1, 2, 3)] == [1, 1, 1]
    best, = (line for line in lines if 'best: accuracy/top1' in line)
    assert re.search(r'epoch_\d\.pth$', best) and Path(best.rpartition(', ')[2]).is_file()
    assert all(f'mmvit {command}' in ' '.join(lines[-4:]) for command in ('test', 'predict IMAGE', 'export'))
    assert quote(str(work_dir)) in lines[-2]


@pytest.mark.workflow
def test_the_log_file_has_every_line(trained):
    shown, work_dir = trained
    log = log_of(work_dir)
    assert log.count('Epoch(train)') == 12 and log.count('Epoch(val)') >= 3
    assert all(text in log and text not in shown for text in (SAVED, *DUMPED))
    assert ' INFO ' not in shown


@pytest.mark.workflow
def test_without_a_terminal_there_is_no_bar(config, tmp_path):
    """Other configs, also with the hooks of recipes, and --verbose show OpenMMLab's log."""
    quiet = start(tmp_path / 'quiet', 'train_dataloader.batch_size=1', config=config)
    assert quiet.wait(200) == 0, quiet.text
    own = tmp_path / 'own.py'
    own.write_text(f"_base_ = {str(TINY)!r}\ncustom_hooks = [dict(type='ExactResumeHook'), dict(type='OwnFilesHook')]")
    verbose, other = start(tmp_path / 'verbose', '--verbose', config=config), start(tmp_path / 'other', config=own)
    assert [run.wait(200) for run in (verbose, other)] == [0, 0]
    assert not BAR.search(quiet.text) and '\x1b' not in quiet.text and SAVED not in quiet.text
    assert quiet.text.count('step ') == 2 and 'step 40/48, loss ' in quiet.text
    assert quiet.text.count(', accuracy/top1') == 3  # one line per validation
    for run, work_dir in (verbose, tmp_path / 'verbose'), (other, tmp_path / 'other'):
        assert all(text in run.text for text in (SAVED, *DUMPED)) and 'step 20/' not in run.text
        steps = [line.rpartition(' - ')[2] for line in log_of(work_dir).splitlines() if 'Epoch(' in line]
        assert len(steps) >= 15 and all(step in run.text for step in steps)


@pytest.mark.workflow
def test_a_test_ends_with_tables_of_classes_and_metrics(trained, config, tmp_path):
    _, work_dir = trained
    shown = shown_in_a_terminal('test', config, work_dir / 'epoch_3.pth', '--work-dir', tmp_path / 'test',
                                '--show-dir', tmp_path / 'drawn')
    rows = [line.split() for line in shown.split('\r\n')]
    values = {row[0]: row[1] for row in rows if len(row) == 2}
    assert {'accuracy/top1', 'mean_class_accuracy'} <= values.keys()
    assert ['4', 'daisy'] in [row[-2:] for row in rows]  # 4 images of the first class
    assert re.search(r'testing .*1/1', shown) and not any(text in shown for text in DUMPED)
    for label in 'drawings: ', 'log and metrics: ':
        named, = (line.partition(label)[2] for line in shown.split('\r\n') if label in line)
        assert any(Path(named).iterdir())


@pytest.mark.workflow
def test_a_failing_run_leaves_its_error_in_the_terminal(tmp_path):
    run = Run(tmp_path / 'log.txt', 'test', TINY, tmp_path / 'none.pth', '--work-dir', tmp_path / 'test')
    assert run.wait(100) == 1 and 'none.pth' in run.error


class Accuracy(BaseMetric):
    """Prints, as pycocotools does."""

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict[str, float]:
        print('Average Precision  (AP) @[ IoU=0.50:0.95 ]')
        return {'acc': 0.5, 'size[small]': -1.}


class Fault(Hook):
    """Warns in the second step, and then ends the run with an error."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == 5:
            runner.logger.warning('the disk is nearly full')
            if self.error is not None:
                raise self.error


@pytest.mark.parametrize('error', [None, ValueError('stop'), KeyboardInterrupt(), SystemExit(143)])
def test_the_console_is_as_before_after_a_run(error, tmp_path, capsys):
    """Warnings are shown in a run; what metrics print is in its log file."""
    runner = runner_of(
        tmp_path, model=Line(), val_dataloader=loader_of(), val_cfg={}, val_evaluator=Evaluator(Accuracy()),
        custom_hooks=[Fault(error)])
    console, = (handler for handler in runner.logger.handlers if type(handler) is logging.StreamHandler)
    before = console.level, console.stream, sys.stdout
    if error is None:
        with shown_in_terminal(runner):
            runner.train()
    else:
        with pytest.raises(type(error)), shown_in_terminal(runner):
            runner.train()
    assert (console.level, console.stream, sys.stdout) == before
    shown = capsys.readouterr().out
    assert 'the disk is nearly full' in shown and 'Average Precision' not in shown
    assert ' INFO ' not in shown.rpartition('Hooks will be executed')[2]
    assert 'Average Precision' in log_of(tmp_path)
    assert [line for line in shown.splitlines() if line.startswith('epoch 1, loss ') and line.endswith(', acc 0.5')]
    runner.logger.info('afterwards')
    assert 'afterwards' in capsys.readouterr().out


def test_metrics_of_summaries_come_first():
    metrics = {'coco/bbox_mAP_50': 0.5, 'coco/bbox_mAP': 0.1, 'coco/wine glass_precision': float('nan'),
               'coco/bbox_mAP_s': -1.}  # without small objects
    assert short_metrics(metrics)[:2] == ['coco/bbox_mAP 0.1', 'coco/bbox_mAP_50 0.5']
    assert not any('_s' in part for part in short_metrics(metrics))
    many = {f'coco/a_long_name_of_a_metric_{i}': 1. for i in range(9)}
    assert 0 < len(', '.join(short_metrics(many))) < 90 and len(short_metrics({'x' * 200: 1.})) == 1


def test_tables_leave_out_sizes_that_no_object_has(capsys):
    show_metrics({'coco/bbox_mAP': 0.375, 'coco/bbox_mAP_s': -1., 'coco/[b]_precision': 0.25})
    assert capsys.readouterr().out.split() == 'metric value coco/bbox_mAP 0.375 coco/[b]_precision 0.25'.split()
