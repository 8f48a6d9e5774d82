"""A training goes on from the whole model of another one with the same network and task."""
import re
from importlib import import_module
from pathlib import Path

import pytest
import torch
from fine_tunings import FOLDERS, TASKS, recipe
from helpers import raises
from mmengine.config import Config
from mmengine.registry import MODELS

from mmvit.frameworks.building import build_model, use_framework
from mmvit.recipes import FineTuning
from mmvit.recipes.folder import plan_fine_tuning
from mmvit.recipes.networks import find_network
from mmvit.recipes.starts import loaded_in
from mmvit_backbones import get_model
from mmvit_backbones.errors import CheckpointError, MMViTError
from mmvit_backbones.zoo.convert import convert_weights
from mmvit_backbones.zoo.loading import safe_loading
from mmvit_backbones.zoo.variants import Normalization

pytestmark = pytest.mark.usefixtures('frameworks')


def trained(folder: Path, cfg: Config, classes: tuple[str, ...]) -> str:
    """Returns a checkpoint as MMEngine saves it, with random weights."""
    use_framework(cfg.default_scope)
    torch.save(dict(state_dict=build_model(Config(cfg.to_dict())).state_dict(),
                    meta=dict(dataset_meta=dict(classes=list(classes)))), file := folder / 'run.pth')
    return str(file)


@TASKS
def test_whole_model_starts_at_the_rate_of_pretrained_layers(task, tmp_path):
    cfg = recipe(tmp_path, task)
    run = trained(tmp_path, cfg, cfg.metainfo.classes)
    whole = recipe(tmp_path, task, pretrained=run)
    assert whole.load_from == run and 'init_cfg' not in whole.model.backbone
    content = torch.load(run)
    backbone = {name: x for name, x in content['state_dict'].items() if name.startswith('backbone.')}
    torch.save({**content, 'state_dict': backbone}, run)
    other = recipe(tmp_path, task, pretrained=run)
    with raises(CheckpointError, 'another network', 'ResT'):
        recipe(tmp_path, task, pretrained=trained(tmp_path, recipe(tmp_path, task, 'resnet50'), ()))
    assert not other.get('load_from') and other.model.backbone.init_cfg.checkpoint == run  # the backbone alone
    settings = whole.optim_wrapper.paramwise_cfg
    backbone = other.optim_wrapper.optimizer.lr * other.optim_wrapper.paramwise_cfg.pretrained_mult
    assert whole.optim_wrapper.optimizer.lr == pytest.approx(backbone) and settings.pretrained_mult == 1


def test_a_whole_model_with_another_head_gives_its_backbone_and_says_so(tmp_path, capsys):
    """As a run whose head was UPerNet's."""
    cfg = recipe(tmp_path, 'seg_folder')
    other = Config(cfg.to_dict())
    other.model.decode_head = dict(
        type='UPerHead', channels=16, pool_scales=(1, ), num_classes=cfg.model.decode_head.num_classes,
        in_channels=cfg.model.decode_head.in_channels, in_index=[0, 1, 2, 3])
    run = trained(tmp_path, other, cfg.metainfo.classes)
    found = recipe(tmp_path, 'seg_folder', pretrained=run)
    assert found.model.backbone.init_cfg.checkpoint == run and not found.get('load_from')
    assert all(word in capsys.readouterr().err for word in [f'{run}: its decode_head'])


@TASKS
def test_a_prefix_that_was_given_selects_the_weights(task, tmp_path):
    """Of a file with averages beside the weights, as of timm's own script; the error names the option."""
    weights, file = get_model('rest_lite', 'backbone').state_dict(), str(tmp_path / 'two.pth')
    torch.save(dict(state_dict=weights, state_dict_ema={name: x + 1 for name, x in weights.items()}), file)
    given = FineTuning(network='rest_lite', **{task: FOLDERS[task]}, pretrained=file, check_files=False,
                       work_dir=str(tmp_path / 'run'))
    with raises(CheckpointError, 'state_dict_ema.', key := 'model.backbone.init_cfg.prefix'):
        plan_fine_tuning(given)
    cfg = plan_fine_tuning(given, {key: 'state_dict_ema.'})
    assert not [name for name in cfg.optim_wrapper.paramwise_cfg.new if name.startswith('backbone')]
    use_framework(cfg.default_scope)
    backbone = build_model(cfg).backbone
    backbone.init_weights()
    assert all(torch.equal(x, weights[name] + 1) for name, x in backbone.named_parameters() if name in weights)


def test_a_prefix_of_a_framework_for_trainings_is_found(tmp_path):
    """Lightning's, for a network of another library."""
    network, file = dict(type='mmdet.ResNet', depth=18), str(tmp_path / 'last.ckpt')
    use_framework('mmdet')
    weights = {name: x + 1 for name, x in MODELS.build(network).state_dict().items()}
    torch.save(dict(state_dict={f'net.{name}': x for name, x in weights.items()} | {'fc.bias': torch.ones(2)}), file)
    found = find_network(network, file, 'classification')
    assert sorted(loaded_in(found)) == sorted(name for name in weights if not name.endswith('tracked'))
    backbone = MODELS.build(found.backbone)
    with safe_loading():
        backbone.init_weights()
    assert all(torch.equal(x, weights[name]) for name, x in backbone.named_parameters())
    teacher = {f'teacher.{name}': x + 1 for name, x in weights.items()}
    torch.save(dict(state_dict={f'net.{name}': x for name, x in weights.items()} | teacher), file)
    nested = str(tmp_path / 'nested.pth')
    torch.save(dict(student=dict(backbone=weights)), nested)
    for source, prefix in (file, 'teacher.'), (nested, 'student.backbone.'):
        with raises(CheckpointError, prefix, 'mmvit weights convert', '--pretrained'):
            find_network(network, source, 'classification')
    converted = str(tmp_path / 'own.safetensors')
    convert_weights(file, converted, prefix='teacher.')
    assert loaded_in(find_network(network, converted, 'classification'))


@TASKS
def test_last_layers_of_other_classes_are_new(task, tmp_path):
    cfg = recipe(tmp_path, task)
    run = trained(tmp_path, cfg, cfg.metainfo.classes[::-1])
    fine = recipe(tmp_path, task, pretrained=run)
    loaded, all_of_them = torch.load(fine.load_from)['state_dict'], torch.load(run)['state_dict']
    missing = {name.rpartition('.')[0] for name in all_of_them.keys() - loaded.keys()}
    heads = 'roi_head.bbox_head.fc_cls', 'roi_head.bbox_head.fc_reg', 'roi_head.mask_head.conv_logits'
    assert missing == dict(class_folder={'head.fc'}, coco_folder={*heads},
                           seg_folder={f'decode_head.layers.{level}.2' for level in range(4)})[task]
    settings = fine.optim_wrapper.paramwise_cfg
    assert settings.pretrained_mult < 1 and {*settings.new} == ({'head'} if task == 'class_folder' else missing)


def configs_of(framework: str) -> dict[str, Path]:
    """Returns one config of a framework for each class of its backbones."""
    folder = Path(str(import_module(framework).__file__)).parent / '.mim/configs'
    texts = {path: path.read_text(encoding='utf-8') for path in sorted(folder.rglob('*.py'))}
    whole, found = [path for path in texts if '_base_' not in path.parts], {}
    for path, text in texts.items():
        for kind in re.findall(r"backbone=dict\(\s*(?:_delete_=True,\s*)?type='(\w+)'", text):
            users = [path] if path in whole else [each for each in whole if f'_base_/models/{path.name}' in texts[each]]
            found |= {kind: users[0]} if users and kind not in found else {}
    return found


@pytest.mark.workflow
@pytest.mark.parametrize('framework', ['mmdet', 'mmseg', 'mmpretrain'])
def test_networks_of_the_frameworks_configs(framework):
    """Images are normalized as for the weights that a config names; random layers are not frozen."""
    frozen, others = {}, []
    for kind, path in configs_of(framework).items():
        try:
            cfg, found, random = Config.fromfile(path), find_network(
                str(path), settings='classification'), find_network(str(path), False, 'classification')
            trained = random.call_built(lambda network: [
                name for name, parameter in network.named_parameters()
                if not parameter.requires_grad and 'pos_embed' not in name])  # of sines
        except (MMViTError, RuntimeError) as error:  # of packages, files or bases that are not there
            others.append(f'{kind}: {error}')
            continue
        frozen |= {kind: trained[:2]} if trained else {}
        assert not random.weights, kind
        images = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
        if found.weights and images.get('mean') is not None:
            to_rgb = images.get('bgr_to_rgb', images.get('to_rgb', False))
            assert found.images == Normalization(images['mean'], images['std'], to_rgb), kind
    assert not frozen and len(others) < len(configs_of(framework)) / 3, (frozen, others)


def test_initial_values_are_no_weights(tmp_path):
    kaiming = dict(type='Kaiming', layer='Conv2d')
    found = [find_network(dict(type='mmdet.ResNet', depth=18, init_cfg=kaiming), given) for given in (True, False)]
    assert all(not each.weights and each.backbone['init_cfg'] == kaiming for each in found)
    both = [kaiming, dict(type='Pretrained', checkpoint='torchvision://resnet18')]
    cfg = recipe(tmp_path, 'coco_folder', dict(type='mmdet.ResNet', depth=18, init_cfg=both), pretrained=True)
    assert cfg.model.backbone.init_cfg == both and 'backbone' not in cfg.optim_wrapper.paramwise_cfg.new
