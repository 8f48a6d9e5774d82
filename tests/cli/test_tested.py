"""Each option of `mmvit test`, and each pair of them, changes what is tested, or an error names it."""
import gc
import shutil
import sys
from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest
import torch
from fine_tunings import FOLDERS, TASKS, recipe
from helpers import raises
from mmengine.config import Config
from subcommands import parser_of
from tiny_configs import TINY_CONFIGS

from mmvit.cli.test import prepare
from mmvit.recipes import save
from mmvit_backbones.errors import UsageError

KINDS = 'run', 'checkpoint', 'config', 'exported file'
OPTIONS = {
    '--out': ['out.pkl'], '--show': [], '--show-dir': ['drawn'], '--wait-time': ['0'], '--tta': [],
    '--work-dir': ['other'], '--seed': ['3'], '--data-root': ['copy'], 'FOLDER': ['copy'], '--size': ['32'],
    '--cfg-options': ['test_dataloader.dataset.indices=2'],
    '--cfg-options pipeline': ['test_dataloader.dataset.pipeline.1.interpolation=area']}
ALONE = {'--wait-time', '--work-dir', '--seed'}  # which are tried without others
OTHERS = {'config', 'checkpoint', 'help', 'verbose', 'check', 'processes', 'launcher', 'local_rank'}


def test_every_option_is_tried():
    folders = {f'--{task.replace("_", "-")}' for task in FOLDERS}
    tried = {option.split()[0] for option in OPTIONS} - {'FOLDER'} | folders
    assert tried == {f'--{action.dest.replace("_", "-")}' for action in parser_of('test')._actions
                     if action.dest not in OTHERS}


@pytest.fixture(scope='module')
def run_of(tmp_path_factory) -> Callable[[str], Path]:
    """Returns the work dir of a task's training, with a copy of its data in the folder ``copy`` beside it."""
    @cache
    def run(task: str) -> Path:
        place = tmp_path_factory.mktemp(task)
        cfg = recipe(place, task, dict(type='ResT', **TINY_CONFIGS['ResT']), size=64, **(
            dict(boxes_only=True) if task == 'coco_folder' else {}))
        save(cfg)
        cfg.dump(place / 'run/config.py')
        torch.save(dict(state_dict={}), place / 'run/epoch_1.pth')
        (place / 'run/last_checkpoint').write_text('epoch_1.pth')
        (place / 'run/model.onnx').touch()
        shutil.copytree(FOLDERS[task], place / 'copy')
        return place / 'run'

    return run


@pytest.mark.slow
@TASKS
@pytest.mark.parametrize('kind', KINDS)
def test_every_option_and_pair_changes_the_test_or_is_named(kind, task, run_of, monkeypatch):
    run = run_of(task)
    monkeypatch.chdir(run.parent)
    monkeypatch.setenv('DISPLAY', ':0')
    config, checkpoint = str(run / 'config.py'), str(run / 'epoch_1.pth')
    source = dict(zip(KINDS, ([str(run)], [checkpoint], [config, checkpoint], [config, str(run / 'model.onnx')])))

    def tested(*options: str) -> object:
        """Returns what a test with some options uses, or the error that names one of them."""
        words = [word for option in options for word in words_of(option, task)]
        args = parser_of('test').parse_args([*source[kind], *words])
        try:
            cfg = prepare(args)
        except UsageError as error:
            text = str(error).replace('_', '-')  # as an argument, too
            assert any(words_of(option, task)[0].lstrip('-') in text for option in options), (options, error)
            return None
        return used(cfg, kind)

    gc.freeze()  # MMEngine's data sets collect garbage, which takes most of the time
    found = {(): tested(), **{(option, ): tested(option) for option in OPTIONS}}
    if kind in ('config', 'exported file'):  # a run and its checkpoint stand for their config
        found |= {pair: tested(*pair) for pair in combinations(OPTIONS, 2) if not ALONE.intersection(pair)}
    assert found[()] is not None
    assert not [(options, part) for options, values in found.items() if options and values is not None
                for part in combinations(options, len(options) - 1) if values == found[part]]


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems always have a display')
def test_showing_without_a_display_is_refused(run_of, monkeypatch):
    """Before the folder and the checkpoint are read."""
    for name in 'DISPLAY', 'WAYLAND_DISPLAY', 'MPLBACKEND':
        monkeypatch.delenv(name, raising=False)
    args = parser_of('test').parse_args([str(run_of('class_folder')), '--show', '--class-folder', 'nowhere'])
    with raises(UsageError, '--show', 'DISPLAY', '--show-dir'):
        prepare(args)


@TASKS
def test_an_exported_file_has_the_test_of_its_run(task, run_of):
    run = run_of(task)
    file = str(run / 'model.onnx')
    tests = []
    for source in [file], [str(run), file], [str(run / 'config.py'), file]:
        args = parser_of('test').parse_args(source)
        cfg = prepare(args)
        tests.append(used(cfg, 'exported file'))
    assert tests[0] == tests[1] == tests[2]


def words_of(option: str, task: str) -> list[str]:
    """Returns an option with its value, as words of a command."""
    name = f'--{task.replace("_", "-")}' if option == 'FOLDER' else option.split()[0]
    return [name, *(['out'] if (name, task) == ('--out', 'seg_folder') else OPTIONS[option])]


def used(cfg: Config, kind: str) -> object:
    """Returns the part of a config that a test uses; of an exported file, which reads the images itself."""
    content = cfg.to_dict()
    if kind != 'exported file':
        return content
    dataset = {name: value for name, value in content['test_dataloader']['dataset'].items() if name != 'pipeline'}
    return dataset, content['test_evaluator'], content['work_dir']


def test_a_split_that_has_changed_is_named(tmp_path):
    """`mmvit test` cannot split a folder."""
    data = tmp_path / 'data'
    shutil.copytree(f'{FOLDERS["class_folder"]}/train', data)
    cfg = recipe(tmp_path, class_folder=str(data), val_fraction=0.3)
    save(cfg)
    next(data.glob('*/*.jpg')).unlink()
    other = tmp_path / 'other'
    shutil.copytree(data, other)
    (tmp_path / 'empty/val').mkdir(parents=True)
    for folder, words in ((data, ['1 image was removed']), (other, [other]), (tmp_path / 'empty', ['val/CLASS/'])):
        args = parser_of('test').parse_args([cfg.filename, 'epoch_1.pth', '--class-folder', str(folder)])
        with raises(UsageError, *words):
            prepare(args)
