"""Models from untrusted files: hostile arguments of all allowed classes are refused, and valid files are read."""
import inspect
import json
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from helpers import raises
from hostile_configs import (
    BACKBONE,
    DISALLOWED,
    LARGE,
    META,
    MODEL,
    OTHERS,
    PIPELINE,
    RESIZE,
    TEXTS,
    VALID,
    checkpoint_of,
    valid_weights,
)
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader

from mmvit_backbones.errors import CheckpointError
from mmvit_backbones.utils.file_configs import FRAMEWORKS, import_quietly, parse_config
from mmvit_backbones.zoo.allowlist import (
    DROPPED,
    PARTS,
    STEPS,
    NotAllowedError,
    allowed_parts,
    checked,
    complete_for_inferencer,
)
from mmvit_backbones.zoo.loading import allowed_config, use_safe_loading

pytest.importorskip('mmpretrain')

VALUES = [*DISALLOWED[::6], *TEXTS, *OTHERS]


def registered(framework: str) -> dict[str, type]:
    """Returns the classes for models and pipelines that a framework and this package have registered."""
    import_quietly(framework)
    import_module(f'{framework}.models')
    found = {}
    for registry in ('MODELS', 'TASK_UTILS', 'TRANSFORMS'):
        registry = getattr(import_module(f'{framework}.registry'), registry, None)
        while registry is not None:
            found = {**registry.module_dict, **found}
            registry = registry.parent
    return found


def arguments_of(cls: type | partial) -> set[str]:
    """Returns the arguments of a class and its bases."""
    inits = [base.__init__ for base in getattr(cls, '__mro__', ()) if '__init__' in vars(base)] or [cls]
    return {name for init in inits for name in inspect.signature(init).parameters} - {'self'}


@pytest.mark.parametrize('framework', FRAMEWORKS)
def test_arguments_of_every_class_are_refused(framework, tmp_path, monkeypatch):
    """No argument of an allowed class accepts code, paths, URLs or huge numbers, whether plain or nested."""
    if find_spec(framework) is None:
        pytest.skip(f'{framework} is optional and not installed')
    monkeypatch.chdir(tmp_path)
    found, tried = registered(framework), 0
    for classes in (PARTS, STEPS):
        for name in classes.keys() & found.keys():
            for argument in arguments_of(found[name]):
                for value in VALUES:
                    for held in (value, [dict(a=(value, ))]):
                        part = {'type': name, argument: held}
                        if argument in DROPPED:
                            assert checked(part, 'part', classes)[argument] is None
                            continue
                        with pytest.raises(NotAllowedError):
                            checked(part, 'part', classes)
                        tried += 1
    assert tried > 1000 and not list(tmp_path.iterdir())


def test_allowed_names_are_registered():
    """All names on the allowlist are registered by the installed frameworks."""
    known = {name for framework in FRAMEWORKS if find_spec(framework) for name in registered(framework)}
    operators = {'RoIAlign', 'nms', 'soft_nms'}  # mmcv does not register these operators
    poses = {'TopdownPoseEstimator', 'PoseDataPreprocessor', 'HeatmapHead', 'MSRAHeatmap', 'KeypointMSELoss',
             'LoadImage', 'GetBBoxCenterScale', 'TopdownAffine', 'PackPoseInputs'}
    assert {*PARTS, *STEPS} - operators - (set() if find_spec('mmpose') else poses) <= known


@pytest.mark.parametrize('change', [
    dict(default_scope='evil'), dict(default_scope=None), dict(model=None), dict(model='evil.py'), dict(model=[MODEL]),
    dict(model={}), *(dict(model=call) for call in DISALLOWED),
    *(dict(model=dict(MODEL, backbone=call)) for call in DISALLOWED),
    *(dict(data_preprocessor=call) for call in DISALLOWED),
    *(dict(test_dataloader=dict(dataset=dict(pipeline=[*PIPELINE, call]))) for call in DISALLOWED),
    *(dict(test_dataloader=value) for value in (
        'evil.py', [], {}, dict(dataset='evil.py'), dict(dataset=dict(dataset=1)), dict(dataset=dict(pipeline=7)),
        dict(dataset=dict(datasets=[])))),
    dict(test_dataloader=dict(dataset=dict(pipeline=[dict(type='Resize', scale=(50000, 50000))]))),
    dict(test_dataloader=dict(dataset=dict(pipeline=[dict(type='ImageClassifier')]))),
], ids=str)
def test_configs_that_are_not_allowed_are_refused(change):
    with pytest.raises(NotAllowedError):
        allowed_parts(dict(VALID, **change), META)


@pytest.mark.parametrize('meta', [
    7, ['one'], dict(classes='/etc/passwd'), dict(classes=[7]), dict(classes=['x' * 201]), dict(classes={}),
    dict(classes=['x'] * 100_001), dict(palette=[(0, 0, 256)]), dict(palette=[10**9]), dict(palette=['red']),
    dict(palette=[(0, 0)]), dict(skeleton_links=[(0, 10**400)]), dict(flip_indices=['x']),
    dict(flip_indices='x'), dict(skeleton_links='x'), dict(flip_indices=[-1]), dict(flip_indices=[100_000]),
    dict(palette=[(-1, 0, 0)]),
], ids=lambda meta: str(meta)[:50])
def test_invalid_dataset_meta_is_refused(meta):
    with pytest.raises(NotAllowedError, match='dataset_meta'):
        allowed_parts(VALID, meta)


def test_dataset_meta_is_read():
    meta = dict(classes=('one', 'x' * 200), palette=np.array([[0, 1, 255]]), flip_indices=[0, 99_999],
                skeleton_links=[[0, 1]], more='left out')
    assert allowed_parts(VALID, meta)['test_dataloader']['dataset']['metainfo'] == dict(
        classes=['one', 'x' * 200], palette=[(0, 1, 255)], flip_indices=[0, 99_999], skeleton_links=[(0, 1)])
    assert allowed_parts(VALID, dict(palette='random', flip_indices=[1]))['test_dataloader']['dataset']['metainfo'] == {
        'flip_indices': [1]}
    with raises(NotAllowedError, 'dataset_meta.flip_indices', '100000', 'between 0 and 99999'):
        allowed_parts(VALID, dict(flip_indices=[100_000]))
    assert len(allowed_parts(VALID, dict(classes=['x'] * 100_000))['test_dataloader']['dataset']['metainfo'][
        'classes']) == 100_000


@pytest.mark.parametrize('argument, largest', [
    ('window_size', 4096), ('num_classes', 100_000), ('num_things_classes', 100_000), ('num_stuff_classes', 100_000),
    ('temperature', 20_000), ('pool_scales', 64), ('output_size', 32), ('num_points', 32), ('scales_per_octave', 32),
    ('test_cfg.num_classes', 100_000), ('test_cfg.rcnn.max_per_img', 300), ('test_cfg.rpn.max_per_img', 4096)])
def test_numbers_have_limits(argument, largest):
    def part(value: object) -> dict:
        for name in reversed(argument.split('.')):
            value = {name: value}
        return dict(value, type='UPerHead')

    for value in (largest, -largest, [0, (0.5, largest)], None, True):
        assert checked(part(value), 'head') == part(value)
    for value in (largest + 1, -largest - 1, [0, largest + 1]):
        with raises(NotAllowedError, f'head.{argument}', largest + 1, f'from -{largest} to {largest}'):
            checked(part(value), 'head')


def test_lists_have_a_largest_length():
    for argument, longest in (('in_channels', 256), ('class_weight', 100_001)):
        part = {'type': 'CrossEntropyLoss', argument: [1.] * longest}
        assert checked(part, 'loss') == part
        part[argument].append(1.)
        with raises(NotAllowedError, f'loss.{argument}', f'{longest + 1} entries', f'is {longest}'):
            checked(part, 'loss')
    part = dict(type='UPerHead', loss=dict(class_weight=[1.] * 257))
    assert checked(part, 'head') == part


def test_long_values_are_shortened_in_errors():
    with raises(NotAllowedError, 'head.in_channels', "'xxx", '...', 'no strings') as caught:
        checked(dict(type='UPerHead', in_channels='x' * 1000), 'head')
    assert len(str(caught.value)) < 200
    with raises(NotAllowedError, "step.backend='pil'", 'cv2, pillow'):
        checked(dict(type='Resize', backend='pil'), 'step', STEPS)
    with raises(NotAllowedError, 'head.in_channels', 'bytes'):
        checked(dict(type='UPerHead', in_channels=b'1'), 'head')


def test_the_models_preprocessor_takes_precedence():
    own = dict(mean=[1., 2., 3.])
    config = dict(VALID, model=dict(MODEL, data_preprocessor=own), test_dataloader=None)
    assert allowed_parts(config, META)['model']['data_preprocessor'] == own
    assert 'test_dataloader' not in allowed_parts(config, META)
    del config['data_preprocessor']
    assert 'data_preprocessor' not in allowed_parts(dict(config, model=MODEL), META)['model']


def test_what_is_not_needed_is_left_out():
    """Sources of weights and data, hooks, and the module paths of classes are dropped."""
    evil = dict(type='os.system', command='touch canary')
    backbone = dict(BACKBONE, type='mmvit_backbones.backbones.reswin.ReSwin', init_cfg=evil)
    steps = [dict(type='mmcv.transforms.loading.LoadImageFromFile', backend_args=evil),
             dict(RESIZE, type='mmpretrain.datasets.transforms.processing.ResizeEdge'), PIPELINE[2]]
    datasets = [dict(type='evil', ann_file='evil.pkl', classes='/etc/passwd', pipeline=steps), dict(pipeline=[evil])]
    config = dict(
        VALID, model=dict(MODEL, backbone=backbone, pretrained='evil.pth', train_cfg=evil, _scope_='evil'),
        _base_='evil.py', custom_imports=dict(imports=['evil']), load_from='evil.pth', custom_hooks=[evil],
        test_dataloader=dict(sampler=evil, dataset=dict(type='RepeatDataset', dataset=dict(datasets=datasets))))
    allowed = allowed_parts(config, dict(META, palette='random', more=evil))
    assert 'evil' not in str(allowed) and 'canary' not in str(allowed)
    assert allowed['model']['backbone']['arch'] == BACKBONE['arch']
    assert allowed['test_dataloader']['dataset']['metainfo'] == META
    assert [step['type'] for step in allowed['test_dataloader']['dataset']['pipeline']] == [
        'LoadImageFromFile', 'mmpretrain.ResizeEdge', 'PackInputs']


# ---- with weights


def test_model_in_a_valid_checkpoint_is_built():
    checkpoint = checkpoint_of(VALID)
    allowed = allowed_config(checkpoint, checkpoint['meta']['cfg'], 'file')
    model = MODELS.build(allowed['model']).state_dict()
    assert {name: x.shape for name, x in model.items()} == {
        name: x.shape for name, x in checkpoint['state_dict'].items()}


@pytest.mark.parametrize('name', LARGE)
def test_a_model_larger_than_its_weights_is_refused(name):
    checkpoint = checkpoint_of(dict(VALID, model=dict(MODEL, backbone=LARGE[name])))
    with pytest.raises(CheckpointError, match='larger than its weights; pass its config with --config FILE'):
        allowed_config(checkpoint, checkpoint['meta']['cfg'], 'file')


def test_expanded_tensors_do_not_count_as_weights():
    head = dict(MODEL['head'], num_classes=100_000)
    weights = valid_weights()
    weights |= {'head.fc.weight': torch.zeros(1).expand(100_000, 128), 'head.fc.bias': torch.zeros(1).expand(100_000)}
    checkpoint = checkpoint_of(dict(VALID, model=dict(MODEL, head=head)), weights)
    with pytest.raises(CheckpointError, match='larger than its weights'):
        allowed_config(checkpoint, checkpoint['meta']['cfg'], 'file')


@pytest.mark.parametrize('change, message', [
    (dict(num_classes=5), 'shapes differ'), (dict(in_channels='x'), 'allowed: no strings'),
    (dict(type='evil'), "head.type='evil' .*; pass its config"),
    (dict(num_classes=-1), 'cannot be built')])
def test_reasons_are_reported_in_one_line(change, message):
    checkpoint = checkpoint_of(dict(VALID, model=dict(MODEL, head=dict(MODEL['head'], **change))))
    with pytest.raises(CheckpointError, match=message) as caught:
        allowed_config(checkpoint, checkpoint['meta']['cfg'], 'file')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('text, message', [
    ('import os', 'pass its config'), ("default_scope = __import__('os').name", 'pass its config'),
    ('model = [', 'pass its config'), (None, 'contains no training config; pass its config'),
    (dict(model={}), 'contains no training config')])
def test_a_config_in_a_checkpoint_is_not_run(text, message):
    with pytest.raises(CheckpointError, match=message):
        allowed_config(dict(state_dict={}, meta=dict(cfg=text)), text, 'file')


def test_other_parts_of_a_checkpoint_stay_as_they_are(tmp_path, own_loaders, logged):
    use_safe_loading()
    checkpoint = checkpoint_of(VALID)
    del checkpoint['meta']['config'], checkpoint['meta']['dataset_meta']
    checkpoint['message_hub']['runtime_info'] = dict(iter=3)
    torch.save(checkpoint, tmp_path / 'file.pth')
    read = CheckpointLoader.load_checkpoint(str(tmp_path / 'file.pth'))
    assert read['message_hub'] == checkpoint['message_hub'] and 'is ignored' not in logged.text
    config = parse_config(read['meta']['cfg'])
    assert config['model']['head']['num_classes'] == 4 and config['test_dataloader']['dataset']['metainfo'] == {}


def test_frameworks_get_only_checked_configs(tmp_path, own_loaders, logged):
    use_safe_loading()
    path = str(tmp_path / 'file.pth')
    torch.save(checkpoint_of(VALID), path)
    read = CheckpointLoader.load_checkpoint(path)
    assert read['meta']['dataset_meta'] == META and 'config' not in read['meta']
    allowed = complete_for_inferencer(allowed_parts(VALID, META))
    for holder in (read['meta'], read['message_hub']['runtime_info']):
        assert Config.fromstring(holder['cfg'], '.py').to_dict() == parse_config(holder['cfg']) == allowed
    for config in (dict(VALID, model=DISALLOWED[0]), dict(VALID, model=dict(MODEL, backbone=LARGE['wide']))):
        torch.save(checkpoint_of(config), path)
        read = CheckpointLoader.load_checkpoint(path)
        assert not {'cfg', 'config'} & (read['meta'].keys() | read['message_hub']['runtime_info'].keys())
        assert read['state_dict']
    assert 'is ignored' in logged.text and '--config' not in logged.text


@pytest.mark.parametrize('backbone', [
    *DISALLOWED, dict(type='ReSwin', init_cfg=dict(type='Pretrained', checkpoint='official://reswin_tiny')),
    dict(type='ResNet', depth=18), {}, LARGE['many_modules']], ids=str)
def test_hugging_face_builds_only_networks_of_this_package(tmp_path, backbone):
    transformers = pytest.importorskip('transformers')
    import mmvit_backbones.integrations.huggingface  # noqa: F401
    (tmp_path / 'config.json').write_text(json.dumps(dict(model_type='mmvit', backbone={'arch': 'tiny', **backbone})))
    with pytest.raises(ValueError):
        transformers.AutoConfig.from_pretrained(tmp_path)
