"""The demo reports tasks below their minimum, failures and the remaining time; tested without training."""
import multiprocessing
import runpy
import signal
import subprocess
import sys

import psutil
import pytest
from helpers import ROOT, raises

LOG = """\
11/21 07:53:00 - mmengine - INFO - Iter(train) [ 12/150]  lr: 4.4e-04  eta: 0:04:05  loss: 2.5994  loss_ce: 1.8
11/21 07:53:02 - mmengine - INFO - Iter(train) [ 16/150]  lr: 4.4e-04  eta: 0:03:59  loss: 2.1428  loss_ce: 1.6
"""


@pytest.fixture
def demo():
    return runpy.run_path(str(ROOT / 'tools/demo.py'))


def test_a_task_below_its_minimum_fails(demo, tmp_path):
    learned = {task: {key: minimum for key, (minimum, _, _) in task.figures.items()} for task in demo['TASKS']}
    demo['check_figures'](tmp_path, learned)
    task = demo['TASKS'][1]
    with raises(demo['DemoError'], 'segmentation', '9.1', 'mean IoU', 'segmentation.log'):
        demo['check_figures'](tmp_path, {**learned, task: {**learned[task], 'mIoU': 9.1}})


def test_progress_shows_the_longest_remaining_time(demo, tmp_path):
    for task in demo['TASKS']:
        (tmp_path / f'{task.name}.log').write_text('')
    codes = dict.fromkeys(demo['TASKS'])
    assert 'detection starts' in demo['progress'](tmp_path, codes, 1)
    for task in demo['TASKS'][:2]:
        (tmp_path / f'{task.name}.log').write_text(LOG)
    codes[demo['TASKS'][2]] = 0
    line = demo['progress'](tmp_path, codes, 20)
    assert 'detection loss 2.14' in line and 'classification done' in line and '4 min left' in line


def test_a_failure_shows_the_end_of_the_log(demo, tmp_path):
    task = demo['TASKS'][0]
    (tmp_path / f'{task.name}.log').write_text('error: data set not found')
    process = multiprocessing.get_context('fork').Process(target=sys.exit, args=(1, ))
    process.start()
    with raises(demo['DemoError'], 'detection', '1', 'data set not found'):
        demo['watch'](tmp_path, {task: process})


def test_an_interrupted_demo_leaves_no_process_behind(demo, tmp_path):
    command = [sys.executable, ROOT / 'tools/demo.py', '--work-dir', tmp_path]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            children = []
            while len(children) < len(demo['TASKS']):
                assert process.poll() is None
                children = psutil.Process(process.pid).children()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1 and errors == 'demo: interrupted\n'
    assert not any(child.is_running() for child in children)
