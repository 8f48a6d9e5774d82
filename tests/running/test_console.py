"""What trainings and tests show: in a terminal, a bar and what a person needs; the log file has every line."""
import io
import logging
import re
from pathlib import Path

import pytest
from runs import TINY, Run, train
from terminals import shown_in_a_terminal

from mmvit.running.console import Report, cells, short_metrics, show_metrics

pytestmark = pytest.mark.training

BAR = re.compile(r'training .*\d+/12')
SAVED = 'Saving checkpoint at 3 epochs'
BEST = 'default_hooks.checkpoint.save_best=accuracy/top1'


def log_of(work_dir: Path) -> str:
    file, = work_dir.glob('*/*.log')
    return file.read_text()


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> tuple[str, Path]:
    """Returns what a training shows in a terminal, and its work dir."""
    work_dir = tmp_path_factory.mktemp('terminal') / 'work'
    return shown_in_a_terminal('train', TINY, '--work-dir', work_dir, '--cfg-options', BEST), work_dir


def test_a_terminal_shows_a_bar_and_what_comes_next(trained):
    shown, work_dir = trained
    lines = shown.split('\r\n')
    assert BAR.search(shown)
    assert [sum(f'epoch {epoch}, loss ' in line and 'accuracy/top1' in line for line in lines)
            for epoch in (1, 2, 3)] == [1, 1, 1]
    best, = (line for line in lines if 'best: accuracy/top1' in line)
    assert re.search(r'epoch_\d\.pth$', best) and Path(best.rpartition(', ')[2]).is_file()
    assert all(f'mmvit {command}' in ' '.join(lines[-4:]) for command in ('test', 'predict IMAGE', 'export'))
    assert str(work_dir) in lines[-2]


def test_the_log_file_has_every_line(trained):
    shown, work_dir = trained
    log = log_of(work_dir)
    assert log.count('Epoch(train)') == 12 and log.count('Epoch(val)') >= 3
    for text in SAVED, 'System environment', 'Hooks will be executed', 'Exp name':
        assert text in log and text not in shown
    assert 'Epoch(train)' not in shown and 'mmengine' not in shown


def test_without_a_terminal_there_is_no_bar(tmp_path):
    quiet, verbose = train(tmp_path / 'quiet'), train(tmp_path / 'verbose', '--verbose')
    assert [run.wait(200) for run in (quiet, verbose)] == [0, 0]
    assert not BAR.search(quiet.text) and not BAR.search(verbose.text) and '\x1b[2K' not in quiet.text
    assert quiet.text.count('step ') == 12 and 'step 12/12, loss ' in quiet.text and SAVED not in quiet.text
    assert quiet.text.count(', accuracy/top1') == 3  # one line per validation
    assert SAVED in verbose.text and 'Hooks will be executed' in verbose.text


def test_a_test_ends_with_a_table_of_metrics_and_classes(trained, tmp_path):
    _, work_dir = trained
    evaluators = "[dict(type='Accuracy'),dict(type='PerClassAccuracy')]"
    config = tmp_path / 'tested.py'
    config.write_text(f'_base_ = {str(TINY)!r}\ntest_evaluator = {evaluators}\n')
    shown = shown_in_a_terminal('test', config, work_dir / 'epoch_3.pth', '--work-dir', tmp_path / 'test',
                                '--show-dir', tmp_path / 'drawn')
    rows = [line.split() for line in shown.split('\r\n')]
    values = {row[0]: row[1] for row in rows if len(row) == 2}
    assert {'accuracy/top1', 'mean_class_accuracy'} <= values.keys()
    assert ['daisy', '4'] in [[row[0], row[-1]] for row in rows if row]  # 4 images of the first class
    assert 'mmengine' not in shown and 'accuracy by class' in log_of(tmp_path / 'test')
    for label in 'drawings: ', 'log and metrics: ':
        named, = (line.partition(label)[2] for line in shown.split('\r\n') if label in line)
        assert any(Path(named).iterdir())


def test_a_failing_run_leaves_its_error_in_the_terminal(tmp_path):
    run = Run(tmp_path / 'log.txt', 'test', TINY, tmp_path / 'none.pth', '--work-dir', tmp_path / 'test')
    assert run.wait(100) == 1 and 'none.pth' in run.error


def test_metrics_of_summaries_come_first():
    metrics = {'coco/bbox_mAP_50': 0.5, 'coco/bbox_mAP': 0.1, 'coco/wine glass_precision': float('nan'),
               'coco/bbox_mAP_s': -1.}  # without small objects
    assert short_metrics(metrics)[:2] == ['coco/bbox_mAP 0.1', 'coco/bbox_mAP_50 0.5']
    assert not any('_s' in part for part in short_metrics(metrics))
    many = {f'coco/a_long_name_of_a_metric_{i}': 1. for i in range(9)}
    assert 0 < len(', '.join(short_metrics(many))) < 90 and len(short_metrics({'x' * 200: 1.})) == 1


def test_tables_leave_out_what_the_data_do_not_have(capsys):
    """Classes without objects, and sizes that no object has."""
    rows = [['category', 'mAP', 'mAP_s'], ['nan', '0.5', 'nan'], ['cat', '0.25', 'nan'], ['toothbrush', 'nan', 'nan']]
    show_metrics({'coco/bbox_mAP': 0.375}, {'bbox': rows})
    assert capsys.readouterr().out.split()[4:] == 'bbox by class mAP nan 0.5 cat 0.25'.split()


def test_an_evaluation_without_detections_is_no_error():
    file, logger = io.StringIO(), logging.getLogger('evaluation')
    logger.addHandler(Report(None, file, has_bar=True))
    logger.error('The testing results of the whole dataset is empty.')  # by mmdet, e.g. after the first epoch
    logger.warning('the disk is nearly full')
    assert file.getvalue().splitlines() == ['no object was detected', 'warning: the disk is nearly full']


def test_a_fault_of_what_is_shown_does_not_end_a_run(capsys):
    logger = logging.getLogger('fault')
    file = io.StringIO()
    file.close()  # e.g. a terminal that is gone
    logger.addHandler(Report(None, file, has_bar=True))
    logger.warning('the disk is nearly full')
    assert 'the disk is nearly full' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['cat|dog', '|', 'a || b|', 'plain', '汽车|飞机', 'ä`*[x]'])
def test_names_of_classes_may_have_bars(name):
    """Tables of mmdet are made by terminaltables, those of mmseg by prettytable."""
    from prettytable import PrettyTable
    from terminaltables import AsciiTable
    head, rows = ['Class', 'IoU', 'Acc'], [['ground', '97.5', '99.1'], [name, '1.0', '2.0']]
    pretty = PrettyTable(head)
    pretty.add_rows(rows)
    for text in pretty.get_string(), AsciiTable([head, *rows]).table:
        lines = text.splitlines()
        assert [cells(line, lines[0]) for line in lines if line.startswith('|')] == [head, *rows]
