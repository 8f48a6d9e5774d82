"""Generates wrong values for each option of a subcommand from its parser, and runs the subcommand with them."""
import argparse
import contextlib
import io
import json
import os
import random
import shutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from runs import TINY
from verbs import module_of

import mmvit
from mmvit_backbones.cli import command

CONFIG = f"""
_base_ = {str(TINY)!r}
model = dict(backbone=dict(arch=dict(depths=[1], num_heads=[1]), out_indices=0), head=dict(in_channels=12))
flowers = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root={str(ROOT / 'data/flowers_mini')!r}))
train_dataloader = val_dataloader = test_dataloader = flowers
"""
WINDOWS = """
default_scope = 'mmpretrain'
model = dict(type='ImageClassifier', backbone=dict(
    type='SwinVSA', arch=dict(embed_dims=12, depths=[1], num_heads=[1], window_size=7, mlp_ratio=4), out_indices=0))
"""
# Subcommand -> {argument: valid value}; flags have the value None. {} is replaced by the folder of the input files.
BASES = {
    'train': dict(config='{}/config.py', work_dir='work', check=None),
    'test': dict(config='{}/config.py', checkpoint='{}/model.pth', work_dir='work', check=None),
    'predict': dict(sources='{}/images/class/image.jpg', checkpoint='{}/model.pth', json=None, out_dir='predictions'),
    'export': dict(words=['{}/model.pth', 'model.onnx'], images='{}/images/class/image.jpg'),
    'serve': dict(models='{}/model.pth', port='0'),
    'models': {}, 'doctor': {}, 'weights list': {},
    'weights download': dict(patterns='vitae_tiny', check=None),
    'weights convert': dict(source='{}/vitae.pth', out='converted.pth'),
    'data check': dict(config='{}/config.py', jobs='1', splits='val'),
    'data convert': dict(source='{}/yolo', out='converted'),
    'data browse': dict(config='{}/config.py', number='1', out='sheet.png'),
    'data token-labels': dict(images='{}/images', out='labels', model='{}/config.py', checkpoint='{}/model.pth',
                              size='32'),
    'config show': dict(config='{}/config.py', out='shown.py'),
    'config copy': dict(config='{}/config.py', out='copy.py'),
    'config import': dict(yaml='{}/theirs.yaml', config='imagenet_reswin_t', out='own.py'),
    'flops': dict(networks='rest_lite', size=['32', '32']),
    'benchmark': dict(networks='rest_lite', against='rest_lite', size=['64', '64'], batch_size='1', memory_only=None),
    'draw attention': dict(image='{}/images/class/image.jpg', network='rest_lite', size='32', out='drawn.png'),
    'draw windows': dict(image='{}/images/class/image.jpg', config='{}/windows.py', out='drawn.png'),
    'draw network': dict(network='rest_lite', out='drawn.svg', size='32'),
    'draw run': dict(work_dirs='{}/run', out='drawn.png'),
    'reproduce': dict(name='imagenet_vitae_t', checkpoint='{}/vitae.pth', data_root='{}/imagenet', work_dir='work'),
    'features': dict(config='{}/config.py', checkpoint='{}/model.pth', neighbors='1', regularization='1'),
}
# Subcommand -> function of its module that starts the work; tests replace it.
WORK = {'export': 'compare_with', 'serve': 'build_server', 'reproduce': 'measure', 'features': 'features_of',
        'config import': 'change'}
ALTERNATIVES = dict(pretrained='checkpoint')
DEVICE = '/dev/zero'
END = 'all tried'


class WorkBegins(BaseException):
    """Raised instead of starting the work of a subcommand."""


def make_inputs(folder: Path, published: dict) -> None:
    """Writes the input files of ``BASES``; ``published`` are weights of a network in its authors' layout."""
    (folder / 'config.py').write_text(CONFIG)
    (folder / 'windows.py').write_text(WINDOWS)
    (folder / 'theirs.yaml').write_text('TRAIN: {enable: false}')
    (folder / 'images/class').mkdir(parents=True)
    Image.new('RGB', (48, 32), 'teal').save(folder / 'images/class/image.jpg')
    cfg = Config.fromfile(folder / 'config.py')
    init_default_scope('mmpretrain')
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta=dict(
        cfg=cfg.pretty_text, dataset_meta=dict(classes=list('abcde')))), folder / 'model.pth')
    torch.save(dict(state_dict=published), folder / 'vitae.pth')
    run = folder / 'run/20260101_000000/vis_data'
    run.mkdir(parents=True)
    (run / 'scalars.json').write_text(json.dumps(dict(loss=1., step=1)))
    for name in ('images', 'labels'):
        (folder / 'yolo' / name).mkdir(parents=True)
    shutil.copy(folder / 'images/class/image.jpg', folder / 'yolo/images')
    (folder / 'yolo/labels/image.txt').write_text('0 0.5 0.5 0.5 0.5\n')
    (folder / 'yolo/classes.txt').write_text('cat\n')
    for name in ('val', 'meta'):
        (folder / 'imagenet' / name).mkdir(parents=True)
    shutil.copy(folder / 'images/class/image.jpg', folder / 'imagenet/val/ILSVRC2012_val_00000001.JPEG')
    (folder / 'imagenet/meta/val.txt').write_text('ILSVRC2012_val_00000001.JPEG 1')


def wrong_values(folder: Path, like: str) -> dict[str, str]:
    """Returns a wrong value of each kind; most paths have the suffix of the valid value ``like``."""
    suffix, made = Path(like).suffix, folder / 'wrong'
    made.mkdir(exist_ok=True)
    for kind, make in (('folder', Path.mkdir), ('fifo', os.mkfifo), ('text', lambda path: path.write_text('text')),
                       ('empty', Path.touch), ('loop', lambda path: path.symlink_to(path))):
        if not os.path.lexists(made / f'{kind}{suffix}'):
            make(made / f'{kind}{suffix}')
    return dict(nothing='', huge='9' * 30, negative='-1', nan='nan', words='no such thing', pair='a.b=[1',
                device=DEVICE, unreadable='/proc/self/mem', unwritable=f'/proc/no{suffix}',
                missing=f'{made}/no/missing{suffix}', long='x' * 300 + suffix, bytes=f'\udcff{suffix}',
                url=f'http://127.0.0.1:9/x{suffix}',
                **{kind: f'{made}/{kind}{suffix}' for kind in ('folder', 'fifo', 'text', 'empty', 'loop')})


def cases(verb: str, folder: Path, count: int) -> Iterator[tuple[str, list[str]]]:
    """Yields descriptions and arguments of a subcommand: first valid arguments, then arguments with one wrong value.

    For each option, all wrong values that the parser rejects are tried, and at most ``count`` values that it accepts.
    """
    parser, base = module_of(verb).get_parser(), BASES[verb]
    yield 'valid', arguments_of(parser, base, folder)
    for action in parser._actions:
        if action.nargs == 0 or action.dest == 'local_rank':
            continue
        valid = base.get(action.dest) or ''
        valid = valid if isinstance(valid, str) else valid[0]
        source, num_accepted = random.Random(f'{verb} {action.dest} {os.environ.get("FUZZ_SEED", 0)}'), 0
        wrong = list(wrong_values(folder, valid).items())
        for kind, value in source.sample(wrong, len(wrong)):
            arguments = arguments_of(parser, changed(parser, base, action, value), folder)
            is_accepted = is_parsed(parser, arguments)
            num_accepted += is_accepted
            if not is_accepted or num_accepted <= count:
                yield f'{action.dest}: {kind}', arguments


def changed(parser: argparse.ArgumentParser, base: dict, action: argparse.Action, value: str) -> dict:
    """Returns the valid arguments with one wrong value, without the options that cannot be combined with it."""
    valid = base.get(action.dest)
    words = [value, *valid[1:]] if isinstance(valid, list) and action.nargs != 2 else value
    group = next((group for group in parser._mutually_exclusive_groups if action in group._group_actions), None)
    others = {other.dest for other in group._group_actions} if group else set()
    others.add(ALTERNATIVES.get(action.dest))
    return {**{name: words for name, words in base.items() if name not in others},
            action.dest: [value] * action.nargs if isinstance(action.nargs, int) else words}


def arguments_of(parser: argparse.ArgumentParser, values: dict, folder: Path) -> list[str]:
    places, options = [], []
    for action in parser._actions:
        if action.dest not in values:
            continue
        given = values[action.dest]
        words = [given] if isinstance(given, str) else given or []
        words = [word.replace('{}', str(folder)) for word in words]
        if not action.option_strings:
            places += words
        elif action.nargs in (None, '?') and words:
            options.append(f'{action.option_strings[-1]}={words[0]}')
        else:
            options += [action.option_strings[-1], *words]
    return [*options, '--', *places] if places else options


def is_parsed(parser: argparse.ArgumentParser, arguments: list[str]) -> bool:
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            parser.parse_args(arguments)
        except SystemExit:
            return False
    return True


def try_all(verb: str, folder: str, log: str, count: int) -> None:
    """Runs a subcommand with wrong values in this process, and writes its output and tracebacks to the file ``log``."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(1)
    os.environ.update(MMVIT_HOME=folder, LOCAL_RANK='0', no_proxy='*')
    opened = watch_files(f'{folder}/wrong/fifo', DEVICE)
    if verb in WORK:
        setattr(module_of(verb), WORK[verb], begin_work)
    environment = dict(os.environ)
    for number, (what, arguments) in enumerate(cases(verb, Path(folder), count)):
        here = Path(f'{log}.{number}')
        here.mkdir()
        os.chdir(here)
        print(f'==== {what}:', ascii(' '.join([verb, *arguments])), flush=True)
        code = run(verb, arguments)
        if opened:
            print(f'Traceback: {opened.pop()} was opened')
        if what == 'valid' and code != 0:
            print('Traceback: the valid arguments fail')
        print(f'ends with {code}', flush=True)
        os.environ.clear()
        os.environ.update(environment)
    print(END, flush=True)


def watch_files(*names: str) -> list[str]:
    """Prevents Python from opening paths that start with ``names``; returns a list to which such paths are added."""
    opened = []

    def watch(event: str, details: tuple) -> None:
        if event == 'open' and isinstance(details[0], (str, os.PathLike)) and str(details[0]).startswith(names):
            opened.append(str(details[0]))
            raise OSError('opened')

    sys.addaudithook(watch)
    return opened


def begin_work(*args, **kwargs) -> None:
    raise WorkBegins


def run(verb: str, arguments: list[str]) -> object:
    """Runs a subcommand and returns its exit code: 0 if its work would begin, None after an unexpected exception."""
    try:
        command.run(verb, mmvit.VERBS[verb][0], arguments)
    except WorkBegins:
        return 0
    except SystemExit as end:
        return end.code
    except BaseException:
        traceback.print_exc()
        return None
    return 0
