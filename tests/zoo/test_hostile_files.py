"""All readers open hostile files without executing their code, and with little memory and time."""
import codecs
import functools
import importlib
import io
import json
import logging
import os
import pickle
import resource
import runpy
import shutil
import sqlite3
import subprocess
import tarfile
import time
import timeit
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, fresh_model
from hostile_configs import (
    BACKBONE,
    DISALLOWED,
    LARGE,
    MODEL,
    PIPELINE,
    VALID,
    checkpoint_of,
)
from mmengine.config import Config
from mmengine.fileio import put_text
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import CheckpointLoader
from runs import TINY, Run

from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.inference.predictor import Predictor, config_of
from mmvit_backbones.training.resume import find_intact_checkpoint
from mmvit_backbones.zoo.files import load_checkpoint_file
from mmvit_backbones.zoo.loading import load_backbone, read_checkpoint, use_safe_loading

CANARY = 'canary'
REFUSED = (CheckpointError, UsageError, KeyError)
IMAGE = next((ROOT / 'data/flowers_mini/val').rglob('*.jpg'))


class Call:
    """An object whose pickle executes a call when it is loaded."""

    def __init__(self, *call) -> None:
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


# Each call creates a file or folder whose name begins with `canary`.
CALLS = [
    Call(os.system, 'touch canary'), Call(os.mkdir, CANARY), Call(open, CANARY, 'w'), Call(Path.touch, Path(CANARY)),
    Call(eval, "open('canary', 'w')"), Call(exec, "open('canary', 'w')"), Call(subprocess.call, ['touch', CANARY]),
    Call(subprocess.Popen, ['touch', CANARY]), Call(runpy.run_path, 'evil.py'), Call(importlib.import_module, 'evil'),
    Call(__import__, 'evil'), Call(pickle.loads, pickle.dumps(Call(os.mkdir, CANARY))), Call(torch.save, 1, CANARY),
    Call(torch.load, 'evil.pkl', None, Call(importlib.import_module, 'pickle')),
    Call(functools.partial(torch.hub.load, source='local'), '.', 'evil'), Call(np.save, CANARY, 0),
    Call(shutil.copy, 'evil.py', CANARY), Call(os.symlink, 'evil.py', CANARY), Call(codecs.open, CANARY, 'w'),
    Call(zipfile.ZipFile, CANARY, 'w'), Call(sqlite3.connect, CANARY), Call(logging.FileHandler, CANARY),
    Call(timeit.timeit, "open('canary', 'w')"), Call(put_text, 'text', CANARY), Call(Config.fromfile, 'evil.py'),
    Call(functools.reduce, os.mkdir, [CANARY, 0o700]),
    Call(functools.reduce, Call(getattr, Call(importlib.import_module, 'os'), 'mkdir'), [CANARY, 0o700]),
]


def write_pickle(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def write_legacy(value: object, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def write_tar(value: object, path: Path) -> None:
    """Writes the format of PyTorch before 0.1.10."""
    with tarfile.open(path, 'w') as archive:
        for name in ('storages', 'tensors', 'pickle'):
            content = pickle.dumps(value if name == 'pickle' else 0, protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def bomb(path: Path) -> None:
    """Writes an archive of one megabyte that unpacks to one gigabyte."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data.pkl', pickle.dumps({}))
        with archive.open('archive/data/0', 'w', force_zip64=True) as record:
            for _ in range(16):
                record.write(bytes(2**26))


def overlapping(path: Path) -> None:
    """Writes an archive of ten thousand records that share the same bytes."""
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', pickle.dumps({}))
        archive.writestr('archive/data/0', bytes(2**23))
        archive.filelist += [archive.filelist[-1]] * 10_000


def many_records(path: Path) -> None:
    """Writes an archive with a directory of ten megabytes; larger directories could take minutes to read."""
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', pickle.dumps({}))
        archive.writestr(f'archive/data/{"0" * 4000}', b'')
        archive.filelist += [archive.filelist[-1]] * 2500


def nested(levels: int, width: int = 2) -> dict:
    """Returns a nested dict that takes few bytes in a file, but contains width ** levels values when traversed."""
    value = torch.zeros(1)
    for _ in range(levels):
        value = {f'k{i}': value for i in range(width)}
    return value


def cyclic() -> dict:
    checkpoint = {'meta': {}}
    checkpoint['state_dict'] = checkpoint['model'] = checkpoint
    return checkpoint


# Checkpoints without code, but with excessive or invalid contents.
EXPANDED = torch.zeros(1).expand(2**36)  # 256 GiB if copied
EXCESSIVE = dict(
    nested=nested(60), state_of_nested=dict(state_dict=nested(60)), cyclic=cyclic(), numbers={1: torch.zeros(1)},
    expanded={'layer1.0.weight': EXPANDED}, wrapped=dict(state_dict={'backbone.patch_embed.proj.weight': EXPANDED}),
    bytes=dict(state_dict=bytearray(2**20)), lists=dict(state_dict=[[[]]]),
    meta=dict(state_dict={}, meta=7, message_hub=7),
    long_text=dict(state_dict={}, meta=dict(cfg='model = [' + '1, ' * 2**20 + ']')),
    deep_text=dict(state_dict={}, meta=dict(cfg='model = ' + '[' * 90 + ']' * 90)), number_text=dict(
        state_dict={}, meta=dict(cfg='model = ' + '9' * 10**5)),
)


# Configs that are not allowed or describe a different model, in checkpoints with valid weights.
BAD_CONFIGS = [
    *(dict(VALID, model=dict(MODEL, backbone=backbone)) for backbone in (*DISALLOWED, *LARGE.values())),
    *(dict(VALID, test_dataloader=dict(dataset=dict(type='ImageNet', pipeline=[*PIPELINE, step]))) for step in (
        *DISALLOWED[:4], dict(type='Resize', scale=(50_000, 50_000)), dict(type='Resize', scale='evil.pkl'))),
    *(dict(VALID, model=dict(MODEL, head=dict(MODEL['head'], **change))) for change in (
        dict(num_classes=3_000_000), dict(num_classes=90_000), dict(loss=dict(type='evil.py')))),
    dict(VALID, default_scope='evil')]


@pytest.fixture(scope='module')
def hostile(tmp_path_factory) -> list[Path]:
    """Writes more than a hundred hostile files, and returns their paths."""
    folder, paths = tmp_path_factory.mktemp('hostile'), []
    here = os.getcwd()
    os.chdir(folder)  # any file that this fixture writes by mistake stays here
    for number, call in enumerate(CALLS):
        state = dict(state_dict={'weight': torch.zeros(1)}, meta=dict(seed=0), optimizer={}, message_hub={})
        for write in (write_pickle, torch.save, write_legacy, write_tar):
            paths.append(folder / f'{write.__name__}{number}.pth')
            write(dict(state, extra=call), paths[-1])
    for name, value in EXCESSIVE.items():
        paths.append(folder / f'{name}.pth')
        torch.save(value, paths[-1])
    for number, config in enumerate(BAD_CONFIGS):
        paths.append(folder / f'config{number}.pth')
        torch.save(checkpoint_of(config), paths[-1])
    paths += [folder / name for name in ('bomb.pth', 'bomb.pt2', 'many_records.pth', 'overlapping.pth')]
    bomb(paths[-4])
    shutil.copy(*paths[-4:-2])
    many_records(paths[-2])
    overlapping(paths[-1])
    for name, content in [('a.safetensors', b'\xff' * 64), ('b.safetensors', b'\xff\xff\xff\xff\xff\xff\xff\x7f{}'),
                          ('page.pth', b'<script>'), ('a.onnx', pickle.dumps(CALLS[0])), ('empty.pt2', b'')]:
        paths.append(folder / name)
        paths[-1].write_bytes(content)
    for name in ('$(touch canary).pth', '; touch canary;.pth', '--help.pth', "'+open('canary','w')+'.pth"):
        paths.append(folder / name)
        torch.save(dict(state_dict={}, extra=CALLS[0]), paths[-1])
    os.chdir(here)
    assert len(paths) > 100 and not list(folder.glob(f'{CANARY}*'))
    return paths


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Provides a temporary current folder, and checks that the test leaves no canary in it."""
    (tmp_path / 'evil.py').write_text(f'open({CANARY!r}, "w")')
    (tmp_path / 'hubconf.py').write_text(f'open({CANARY!r}, "w")')
    (tmp_path / 'assets').mkdir()
    for name in ('evil.pkl', 'weights', 'assets/pytorch_model.bin'):
        (tmp_path / name).write_bytes(pickle.dumps(Call(os.mkdir, CANARY)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    assert not list(tmp_path.glob(f'{CANARY}*'))


def resume(path: str) -> None:
    Path('run').mkdir()
    os.symlink(path, 'run/epoch_1.pth')
    try:
        find_intact_checkpoint('run')
    finally:
        shutil.rmtree('run')


def hugging_face(path: str) -> None:
    transformers = pytest.importorskip('transformers')
    import mmvit_backbones.integrations.huggingface  # noqa: F401
    name = 'model.safetensors' if path.endswith('.safetensors') else 'pytorch_model.bin'
    Path('network').mkdir()
    os.symlink(path, f'network/{name}')
    Path('network/config.json').write_text(json.dumps(dict(model_type='mmvit', backbone=BACKBONE)))
    try:
        transformers.AutoBackbone.from_pretrained('network')
    except Exception as error:  # Transformers can raise any exception
        raise CheckpointError(str(error)) from error
    finally:
        shutil.rmtree('network')


def timm_model(path: str) -> None:
    timm = pytest.importorskip('timm')
    import mmvit_backbones.integrations.timm  # noqa: F401
    timm.create_model('mmvit_rest_lite', checkpoint=path)


READERS = dict(
    file=load_checkpoint_file, mapped=lambda path: load_checkpoint_file(path, mmap=True),
    official=lambda path: read_checkpoint(f'official://{path}'), mmengine=CheckpointLoader.load_checkpoint,
    backbone=lambda path: load_backbone(fresh_model('ReSwin'), path), predictor=Predictor,
    config=lambda path: config_of(None, path), resume=resume, hugging_face=hugging_face, timm=timm_model)
# Readers that refuse a file with a bad config; all other readers ignore or remove the config.
READ_CONFIGS = 'predictor', 'config'


@pytest.mark.slow
@pytest.mark.parametrize('reader', READERS)
@pytest.mark.filterwarnings('ignore')
def test_files_are_refused_in_little_memory_and_time(reader, hostile, folder, own_loaders):
    use_safe_loading()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in [path for path in hostile if reader != 'timm' or path.stem in SAMPLE]:
        start = time.process_time()
        try:
            READERS[reader](str(path))
            may_be_read = path.stem in EXCESSIVE or path.stem.startswith('config') and reader not in READ_CONFIGS
        except REFUSED:
            may_be_read = True
        assert may_be_read and time.process_time() - start < 10, path
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19, path  # KiB
        assert not list(folder.glob(f'{CANARY}*')), path


# Each text would create a canary if MMEngine executed it or its pretty text, or built its model or data set.
TEXTS = [f'default_scope = "{{scope}}"\n{text}' for text in (
    'import os\nos.mkdir("canary")', 'model = dict(type="os.mkdir", path="canary")',
    """model = dict(test_cfg={"a': __import__('os').mkdir('canary'), 'b": 1})""",
    'model = dict(type="mmengine.fileio.load", file="evil.pkl")',
    'test_dataloader = dict(dataset=dict(type="RepeatDataset", times=1, dataset=dict('
    'type="{dataset}", ann_file="evil.pkl")))')]
SAMPLE = ('write_pickle0', 'save0', 'write_legacy0', 'write_tar0', 'nested', 'cyclic', 'lists', 'meta', 'bomb',
          'many_records', 'overlapping', 'a', 'page', *(f'config{number}' for number in (0, 16, 20, 23, 25, 26, 33)))


def detectors(config: Config) -> list:
    from mmdet.apis import DetInferencer, init_detector
    return [lambda path: DetInferencer(weights=path, device='cpu'),
            lambda path: DetInferencer(config, path, device='cpu'),
            lambda path: init_detector(config, path, device='cpu')]


def segmenters(config: Config) -> list:
    from mmseg.apis import MMSegInferencer, init_model
    return [lambda path: MMSegInferencer(config, path, device='cpu'),
            lambda path: init_model(config, path, device='cpu')]


def classifiers(config: Config) -> list:
    from mmpretrain import ImageClassificationInferencer, get_model
    return [lambda path: get_model(config, pretrained=path),
            lambda path: ImageClassificationInferencer(config, pretrained=path, device='cpu')]


@pytest.mark.slow
@pytest.mark.parametrize('name, entries, dataset', [
    ('mask_rcnn_reswin_t', detectors, 'CocoDataset'), ('upernet_reswin_t_camvid', segmenters, 'ADE20KDataset'),
    ('imagenet_reswin_t', classifiers, 'CustomDataset')])
@pytest.mark.filterwarnings('ignore')
def test_frameworks_own_entries(name, entries, dataset, hostile, folder, own_loaders):
    """After ``use_safe_loading()``, the frameworks read a valid file and execute no code in hostile files."""
    use_safe_loading()
    config = Config.fromfile(ROOT / f'configs/demo/{name}.py')
    init_default_scope(config.default_scope)
    arch = dict(embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=7, mlp_ratio=1)
    config.model.backbone.arch = arch
    text = config.pretty_text
    valid = str(folder / 'valid.pth')
    classes = dict(classes=('first', 'second', 'third', 'fourth'))
    weights = MODELS.build(config.model).state_dict()
    torch.save(dict(state_dict=weights, meta=dict(cfg=text, dataset_meta=classes)), valid)
    paths = [path for path in hostile if path.stem in SAMPLE]
    for number, hidden in enumerate(TEXTS):
        hidden = hidden.replace('{scope}', config.default_scope).replace('{dataset}', dataset)
        paths.append(folder / f'text{number}.pth')
        whole = f'{text}\n{hidden}'
        torch.save(dict(state_dict={}, meta=dict(cfg=whole), message_hub=dict(runtime_info=dict(cfg=whole))), paths[-1])
    for entry in entries(config):
        entry(valid)
        for path in paths:
            try:
                entry(str(path))
            except Exception as error:  # the framework can raise any exception
                assert not isinstance(error, MemoryError), path
            assert not list(folder.glob(f'{CANARY}*')), path


SCRIPTS = dict(
    predict=['predict', IMAGE, '--checkpoint', 'FILE'], serve=['serve', 'FILE', '--port', '0'],
    export=['export', 'FILE', 'out.onnx', '--images', IMAGE],
    export_network=['export', 'rest_lite', 'FILE', 'out.onnx'], test=['test', TINY, 'FILE'],
    resume=['train', TINY, '--resume', 'FILE'], load=['train', TINY, '--cfg-options', 'load_from=FILE'],
    init=['train', TINY, '--cfg-options', 'model.backbone.init_cfg.type=Pretrained',
          'model.backbone.init_cfg.checkpoint=FILE'],
    convert=['weights convert', 'FILE', '--out', 'out.pth'],
    attention=['draw attention', IMAGE, '--network', 'rest_lite', '--checkpoint', 'FILE'],
    features=['features', '--network', 'rest_lite', '--checkpoint', 'FILE'])


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize('script', SCRIPTS)
def test_subcommands_refuse_hostile_files(script, hostile, folder):
    """Those that read the config in a checkpoint also refuse hostile configs."""
    torch.save(dict(state_dict={}, meta=dict(cfg='import os\nos.mkdir("canary")'), optimizer={}, message_hub=dict(
        runtime_info=dict(cfg='import os\nos.mkdir("canary")'))), folder / 'text.pth')
    find = {path.name: path for path in hostile}
    reads_config = script in ('predict', 'serve', 'export', 'resume')
    disallowed = next(number for number, config in enumerate(BAD_CONFIGS) if 'TIMMBackbone' in str(config))
    read = [folder / 'text.pth', find[f'config{disallowed}.pth']] if reads_config else []
    for path in [find['save0.pth'], *read]:
        tool, *arguments = [str(word).replace('FILE', str(path)) for word in SCRIPTS[script]]
        run = Run(folder / 'log.txt', tool, *arguments, before=functools.partial(os.chdir, folder))
        assert run.wait(200) in (1, 2) and 'Traceback' not in run.text, (path, run.text)
        assert not list(folder.glob(f'{CANARY}*')), path
