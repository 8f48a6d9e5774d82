"""Configs of files: nothing in them is run, whatever they name, and honest ones can be used."""
import json
import zipfile

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.utils.file_configs import check_config, format_config, parse_config
from mmvit_backbones.zoo.files import load_checkpoint_file
from mmvit_backbones.zoo.loading import use_safe_loading

HONEST = dict(
    default_scope='mmpretrain', custom_imports=dict(imports=['mmvit_backbones']),
    model=dict(type='ImageClassifier', backbone=dict(type='ReSwin', init_cfg=dict(
        type='Pretrained', checkpoint='official://reswin_tiny')), head=dict(type='LinearClsHead')),
    test_dataloader=dict(dataset=dict(type='ImageNet', pipeline=[
        dict(type='LoadImageFromFile'), dict(type='mmpretrain.ResizeEdge', scale=256), dict(type='PackInputs')])))

# Each creates the file `canary` if it is run.
CALLS = [
    dict(type='os.system', command='touch canary'), dict(type='subprocess.run', args=['touch', 'canary']),
    dict(type='pathlib.Path.touch', self='canary'), dict(type='builtins.open', file='canary', mode='w'),
    dict(type='builtins.eval', source='open("canary", "w")'), dict(type='builtins.exec', source='open("canary", "w")'),
    dict(type='runpy.run_path', path_name='evil.py'), dict(type='evil.Transform'), dict(type='evil'),
    dict(type='torchvision/Lambda', lambd='open("canary", "w")'), dict(type='mmpretrain.torchvision/Lambda'),
    dict(type='torchvision/ConvertImageDtype', dtype='float if open("canary", "w") else 0'),
    dict(type='LoadImageFromFile', _scope_='evil'), dict(type='mmengine.registry.utils.evil'),
    dict(type='mmdet.CameraMotionCompensation', warp_mode='open("canary", "w")'), dict(type=['os.system']),
    dict(type='__import__("os").system("touch canary")'), dict(type='mmengine.fileio.load', file='evil.pkl'),
    dict(type='TIMMBackbone', model_name='resnet18', checkpoint_path='evil.pth'), dict(_base_='evil.py'),
    dict(type='ReSwin', init_cfg=dict(type='Pretrained', checkpoint='evil.pth')),
    dict(type='ReSwin', init_cfg=dict(type='Pretrained', checkpoint='https://example.org/evil.pth')),
    dict(type='ReSwin', init_cfg=dict(type='os.system', command='touch canary')),
    dict(type='nms', iou_threshold=0.5, class_agnostic=dict(type='open("canary", "w")')),
    dict(type='HuggingFaceClassifier', model_name='somebody/network', trust_remote_code=True),
]
# These run or unpickle files that they name.
NAMED_FILES = [dict(teacher_config='evil.py'), dict(teacher_config='./evil.py', teacher_ckpt=None),
               dict(prototype=['evil.pth']), dict(tag_list='evil/tags'), dict(codebook_init='file://evil'),
               dict(lang_model_name='evil/'), dict(tokenizer=dict(type='AutoTokenizer', name_or_path='evil/registry'))]


def placed(call: dict) -> list[dict]:
    """Configs that have the call in their model, deep in a model, and in a pipeline."""
    model, pipeline = dict(HONEST['model'], backbone=call), [*HONEST['test_dataloader']['dataset']['pipeline'], call]
    return [dict(HONEST, model=call), dict(HONEST, model=model),
            dict(HONEST, model=dict(HONEST['model'], neck=[dict(type='LinearNeck', norm_cfg=call)])),
            dict(HONEST, test_dataloader=dict(dataset=dict(type='ImageNet', pipeline=pipeline))),
            dict(HONEST, tta_model=(call, ))]


HOSTILE = [config for call in CALLS for config in placed(call)] + [
    dict(HONEST, model=dict(HONEST['model'], **named)) for named in NAMED_FILES] + [
    dict(HONEST, test_dataloader=dict(dataset=dict(type='ImageNet', metainfo=dict(classes='evil.txt')))),
    *(dict(HONEST, test_dataloader=dict(dataset=dict(type='RepeatDataset', times=1, dataset=dict(
        type='CustomDataset', ann_file=file)))) for file in ('evil.pkl', 'https://example.org/evil.yml')),
    dict(HONEST, default_scope='evil'), dict(HONEST, custom_imports=dict(imports=['evil'])),
    dict(HONEST, custom_imports=dict(imports='evil')), dict(HONEST, custom_imports=dict(imports=['mmdet', 'evil'])),
    dict(HONEST, _base_=['evil.py'])]
TEXTS = ['import os\nos.system("touch canary")', 'model = open("canary", "w")', 'model = [open("canary", "w")]',
         'model = dict(a=open("canary", "w"))', 'model = (lambda: open("canary", "w"))()',
         '_base_ = "evil.py"\nmodel = _base_', '(' * 5000, 'model = dict(**open("canary", "w"))', 'model.a = 1',
         f'model = [{"1, " * 2**19}]']


# Honest values whose text would be code, if it were not escaped: MMEngine's own text of the first one is.
UNESCAPED = [{"a': open('canary', 'w'), 'b": 1}, {'a\nopen("canary", "w")': 1}, {1: '"\'+open("canary", "w")+\'"'}]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with modules and files that create `canary` when they are run; none may have been."""
    (tmp_path / 'evil.py').write_text('open("canary", "w")')
    (tmp_path / 'evil').mkdir()
    for name in ('tags', 'registry'):
        (tmp_path / 'evil' / name).touch()
    for name in ('__init__', 'registry', 'utils'):
        (tmp_path / 'evil' / f'{name}.py').write_text('open("canary", "w")')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    assert not (tmp_path / 'canary').exists()


def checkpoint_with(text: str, path) -> str:
    torch.save(dict(state_dict=dict(w=torch.zeros(1)), meta=dict(cfg=text, config=text),
                    message_hub=dict(runtime_info=dict(cfg=text))), path)
    return str(path)


def test_hostile_configs_are_refused(folder):
    pytest.importorskip('mmpretrain')
    from mmvit_backbones.inference.predictor import find_config
    for config in HOSTILE:
        with pytest.raises(ValueError):
            check_config(config)
    for text in [*TEXTS, *(Config(config).pretty_text for config in HOSTILE[::20])]:
        with pytest.raises(UsageError, match='give a config'):
            find_config(None, checkpoint_with(text, folder / 'hostile.pth'))


def test_the_message_names_the_entry():
    pytest.importorskip('mmpretrain')
    with pytest.raises(ValueError, match=r"model\.backbone\.type='os\.system' is not the name of a registered class"):
        check_config(dict(HONEST, model=dict(HONEST['model'], backbone=CALLS[0])))


def test_frameworks_get_no_text_to_run(folder, monkeypatch):
    pytest.importorskip('mmpretrain')
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    use_safe_loading()
    for text in [*TEXTS, *(Config(config).pretty_text for config in HOSTILE[::20])]:
        found = CheckpointLoader.load_checkpoint(checkpoint_with(text, folder / 'hostile.pth'))
        assert found['state_dict'] and not found['meta'] and not found['message_hub']['runtime_info']
    found = CheckpointLoader.load_checkpoint(checkpoint_with(Config(HONEST).pretty_text, folder / 'honest.pth'))
    text = found['message_hub']['runtime_info']['cfg']  # what an inferencer without a config runs
    assert Config.fromstring(text, '.py').to_dict() == HONEST
    for value in UNESCAPED:
        config = dict(HONEST, model=dict(HONEST['model'], train_cfg=value))
        found = CheckpointLoader.load_checkpoint(checkpoint_with(format_config(config), folder / 'hostile.pth'))
        text = found['message_hub']['runtime_info']['cfg']
        assert Config.fromstring(text, '.py').to_dict() == config and parse_config(text) == config
    for template in ('{{ fileDirname }}', '{{$HOME:x}}', '{{_base_.model}}'):
        with pytest.raises(ValueError, match='template'):
            format_config(dict(model=dict(type=template)))


def test_configs_of_this_package_pass():
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    for name in ('mask_rcnn_reswin_t', 'upernet_restv2_t', 'imagenet_vitae_t'):
        check_config(parse_config(Config.fromfile(f'configs/{name}.py').pretty_text))


@pytest.mark.parametrize('backbone', [
    *CALLS, dict(type='ReSwin', init_cfg=dict(type='Pretrained', checkpoint='official://reswin_tiny')),
    dict(type='ResNet', depth=18), {}])
def test_hugging_face_builds_networks_of_this_package_alone(folder, backbone):
    transformers = pytest.importorskip('transformers')
    import mmvit_backbones.integrations.huggingface  # noqa: F401
    (folder / 'config.json').write_text(json.dumps(dict(model_type='mmvit', backbone={'arch': 'tiny', **backbone})))
    with pytest.raises(ValueError, match='backbone'):
        transformers.AutoBackbone.from_pretrained(folder)


def test_compressed_archives_are_refused_before_they_are_expanded(tmp_path):
    torch.save(dict(w=torch.zeros(2**20)), tmp_path / 'plain.pth')
    with zipfile.ZipFile(tmp_path / 'plain.pth') as plain, \
            zipfile.ZipFile(tmp_path / 'small.pth', 'w', zipfile.ZIP_DEFLATED) as small:
        for name in plain.namelist():
            small.writestr(name, plain.read(name))
    assert (tmp_path / 'small.pth').stat().st_size < 2**16
    with pytest.raises(CheckpointError, match='compressed'):
        load_checkpoint_file(tmp_path / 'small.pth')
