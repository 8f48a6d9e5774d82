"""`fine_tune` returns a finished config for any network and folder, which trains in its framework."""
import json
import shutil
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import timm
import torch
from fine_tunings import COCO, FLOWERS, FOLDERS, STREETS, TASKS, recipe
from helpers import ROOT, raises, remove_masks
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, FUNCTIONS, MODELS, init_default_scope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmvit.cli.fine_tuning import find_fine_tuning
from mmvit.configs import machine
from mmvit.fine_tuning import FIELDS, OPTIONS, find_difference
from mmvit.recipes import FineTuning, fine_tune, save, summary
from mmvit.recipes.folder import plan_fine_tuning
from mmvit.recipes.networks import RESNET50
from mmvit.recipes.plan import choose_epochs
from mmvit.running import train, training_config
from mmvit.running.data_set_files import check_data
from mmvit.running.rehearsal import rehearse
from mmvit.running.run_folder import RunFolder
from mmvit.utils.config_parts import datasets_of, metrics_of
from mmvit_backbones import get_model
from mmvit_backbones.errors import UsageError
from mmvit_backbones.ops import plain_pytorch
from mmvit_backbones.zoo.variants import VARIANTS

SCOPES = dict(class_folder='mmpretrain', coco_folder='mmdet', seg_folder='mmseg')
# The smallest network of each family.
NETWORKS = list({variant.family.name: variant.name for variant in sorted(
    VARIANTS.values(), key=lambda variant: -variant.num_params)}.values())
OTHERS = dict(
    mmdet=dict(type='mmdet.ResNet', depth=18, num_stages=4, out_indices=(0, 1, 2, 3)),
    timm='timm:resnet18', timm_plain='timm:vit_tiny_patch16_224.augreg_in21k',
    config=str(ROOT / 'configs/mask_rcnn_rest_lite.py'))

pytestmark = pytest.mark.usefixtures('frameworks')


@TASKS
@pytest.mark.parametrize('network', [*NETWORKS, *OTHERS])
def test_every_network_gets_fitting_heads(network, task, tmp_path):
    """Builds the model on the meta device, and checks the maps and predictions."""
    cfg = recipe(tmp_path, task, OTHERS.get(network, network))
    import_module(f'{SCOPES[task]}.models')
    init_default_scope(cfg.default_scope)
    assert cfg.default_scope == SCOPES[task]
    with torch.device('meta'), torch.no_grad(), plain_pytorch():
        model = MODELS.build(cfg.model).eval()
        if task == 'class_folder':
            assert model(torch.empty(1, 3, 64, 96)).shape == (1, 5)
            return
        maps = model.extract_feat(torch.empty(1, 3, 64, 96))
        if task == 'coco_folder':
            assert [tuple(x.shape[1:]) for x in maps][:2] == [(256, 16, 24), (256, 8, 12)] and len(maps) == 5
            assert model.roi_head.bbox_head.num_classes == model.roi_head.mask_head.num_classes == 80
        else:
            assert model.decode_head(maps).shape == (1, 11, 16, 24)


@pytest.mark.slow
@pytest.mark.parametrize('task, network, options', [
    *((task, 'rest_lite', {}) for task in FOLDERS), ('coco_folder', 'reswin_tiny', dict(boxes_only=True)),
    ('class_folder', 'refiner_vit_small_plain', {})])
def test_a_step_changes_the_weights(task, network, options, tmp_path):
    cfg = recipe(tmp_path, task, network, size=64, epochs=2, **options)
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    collate = FUNCTIONS.get('default_collate') if task == 'class_folder' else pseudo_collate
    preprocessor = dict(data_preprocessor=cfg.data_preprocessor) if task == 'class_folder' else {}
    model = MODELS.build(dict(cfg.model, **preprocessor)).train()
    model.init_weights()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    model.train_step(collate([dataset[0], dataset[1]]), build_optim_wrapper(model, cfg.optim_wrapper))
    same = [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
    assert len(same) < len(before) / 10


# ---- length and rate


def test_length_and_rate_follow_from_the_data_and_the_batch(tmp_path):
    cfg = recipe(tmp_path, batch_size=8)
    warm_up, decay = cfg.param_scheduler
    steps = 100 * 30
    assert cfg.train_cfg.max_epochs == 100 and (warm_up.end, decay.begin, decay.end) == (steps // 20, ) * 2 + (steps, )
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(5e-4 / 2**0.5)  # half of the recipe's images per step
    assert '# rate        AdamW, 0.000354 at its peak' in cfg.text
    assert cfg.optim_wrapper.type == ('AmpOptimWrapper' if torch.cuda.is_available() else 'OptimWrapper')
    assert [choose_epochs(images) for images in (10, 1000, 4000, 10**6)] == [100, 100, 50, 12]
    several = recipe(tmp_path, batch_size=4, processes=2)
    assert several.optim_wrapper == cfg.optim_wrapper and several.train_dataloader.batch_size == 4
    assert several.param_scheduler == cfg.param_scheduler
    with raises(UsageError, 'processes=2', 'got 1'):
        train(several)


def test_accumulated_steps_count_in_the_rate(tmp_path):
    """Not in the length; checkpoints are at the ends of epochs that end with an update, as they have no gradients."""
    plain, cfg = recipe(tmp_path, batch_size=4), recipe(tmp_path, batch_size=4, accumulate=8)
    assert cfg.optim_wrapper.accumulative_counts == 8
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(5e-4 * 2**0.5)
    assert cfg.param_scheduler == plain.param_scheduler and cfg.train_cfg == plain.train_cfg
    intervals = [recipe(tmp_path, batch_size=8, accumulate=number, epochs=30).default_hooks.checkpoint.interval
                 for number in (1, 2, 4, 8)]  # 30 steps per epoch
    assert intervals == [3, 3, 4, 4]


def test_one_epoch_has_no_warm_up_that_never_ends(tmp_path):
    cfg = recipe(tmp_path, 'coco_folder', epochs=1)
    assert [schedule.type for schedule in cfg.param_scheduler] == ['CosineAnnealingLR']
    assert (cfg.param_scheduler[0].begin, cfg.param_scheduler[0].end) == (0, 16)


@pytest.mark.parametrize('precision, wrapper', [
    ('float32', dict(type='OptimWrapper')), ('float16', dict(type='AmpOptimWrapper', loss_scale='dynamic')),
    ('bfloat16', dict(type='AmpOptimWrapper', dtype='bfloat16', loss_scale=1.))])
def test_precision(precision, wrapper, tmp_path):
    cfg = recipe(tmp_path, precision=precision)
    assert {key: cfg.optim_wrapper[key] for key in wrapper} == wrapper


# ---- network


def test_pretrained_layers_have_lower_rates_than_new_ones(tmp_path):
    weights = str(tmp_path / 'weights.pth')
    torch.save(get_model('rest_lite', 'backbone').state_dict(), weights)
    fine, scratch = recipe(tmp_path, pretrained=weights, lr=1e-3), recipe(tmp_path, lr=1e-3)
    assert fine.model.backbone.init_cfg == dict(type='Pretrained', checkpoint=weights)
    assert 'init_cfg' not in scratch.model.backbone
    rates = []
    for cfg in fine, scratch:
        model = nn.ModuleDict(dict(backbone=nn.Linear(2, 2), head=nn.Linear(2, 2)))
        cfg.optim_wrapper.paramwise_cfg.decay_rate = 1
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
        rates.append(sorted({group['lr'] for group in groups}))
    assert rates[0][0] < rates[0][1] == 1e-3 and rates[1] == [1e-3]
    assert all(f'{rate:g}' in fine.text.partition('\n#\n')[0] for rate in rates[0])
    for options in dict(lr=1e-2), dict(batch_size=256):  # a high rate of new layers forgets no weights
        high = recipe(tmp_path, pretrained=weights, **options).optim_wrapper
        assert high.optimizer.lr > 4e-3
        assert high.optimizer.lr * high.paramwise_cfg.pretrained_mult == pytest.approx(2e-4)


@pytest.mark.parametrize('folder', ['class_folder', 'coco_folder', 'seg_folder'])
@pytest.mark.parametrize('network', ['vitaev2_small', 'resnet50', 'timm:resnet18'])
def test_batch_norms_of_weights_stay_in_evaluation_mode(network, folder, tmp_path):
    weights = tmp_path / 'weights.pth'
    source = (timm.create_model('resnet18') if 'timm' in network else get_model(network, 'backbone')
              if network != 'resnet50' else MODELS.build(dict(RESNET50, init_cfg=None)))
    torch.save(source.state_dict(), weights)
    for pretrained in False, str(weights):
        cfg = recipe(tmp_path, folder, network, pretrained=pretrained)
        init_default_scope(cfg.default_scope)
        backbone = MODELS.build(dict(cfg.model.backbone, init_cfg=None))
        backbone.train()
        training = {module.training for module in backbone.modules() if isinstance(module, _BatchNorm)}
        assert training == {not pretrained}


@pytest.mark.parametrize('network', ['vitae_base', 'regionvit_tiny'])
def test_classifiers_start_from_the_norm_of_the_weights(network, tmp_path):
    published = get_model(network)
    nn.init.normal_(published.neck.norm.weight)
    torch.save(published.state_dict(), weights := tmp_path / 'weights.pth')
    cfg = recipe(tmp_path, network=network, pretrained=str(weights))
    init_default_scope('mmpretrain')
    neck = MODELS.build(cfg.model.neck)
    neck.init_weights()
    assert torch.equal(neck.norm.weight, published.neck.norm.weight)


@pytest.mark.parametrize('network', ['rest_lite', 'resnet50', 'timm:resnet18'])
def test_frozen_stages_get_no_gradient(network, tmp_path):
    """0 freezes the stem; each further number one more stage, and 'all' all of them."""
    frozen, file = [], tmp_path / 'weights.pth'
    with raises(UsageError, 'freeze', 'random', '--no-pretrained'):
        recipe(tmp_path, 'coco_folder', network, freeze=0)
    init_default_scope('mmdet')
    torch.save(MODELS.build(recipe(tmp_path, 'coco_folder', network).model).state_dict(), file)
    for freeze in (0, 1, 4, 'all'):
        cfg = recipe(tmp_path, 'coco_folder', network, freeze=freeze, pretrained=str(file))
        model = MODELS.build(cfg.model).train()
        frozen.append(sum(p.numel() for p in model.backbone.parameters() if not p.requires_grad))
    assert 0 < frozen[0] < frozen[1] < frozen[2]
    assert frozen[2] == frozen[3] == sum(p.numel() for p in model.backbone.parameters())
    assert '# frozen ' in cfg.text


def test_modules_that_a_config_imports_are_imported_by_the_recipe(tmp_path, monkeypatch):
    (tmp_path / 'my_backbone.py').write_text(
        'from mmdet.models.backbones import ResNet\nfrom mmdet.registry import MODELS\n\n\n'
        '@MODELS.register_module()\nclass MyResNet(ResNet):\n    pass\n')
    (tmp_path / 'mine.py').write_text(
        "default_scope = 'mmdet'\ncustom_imports = dict(imports=['my_backbone'])\n"
        "model = dict(backbone=dict(type='MyResNet', depth=18))\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = recipe(tmp_path, 'seg_folder', str(tmp_path / 'mine.py'))  # of another framework
    assert {'mmvit_backbones', 'my_backbone'} < {*cfg.custom_imports.imports}
    init_default_scope('mmseg')
    assert type(MODELS.build(cfg.model).backbone).__name__ == 'MyResNet'


@pytest.mark.parametrize('network', ['rest_lite', 'swin_vsa_tiny'])
def test_missing_weights_name_the_flag(network, tmp_path, monkeypatch):
    """Offline, or for a network without published weights."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'empty'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'empty'))
    monkeypatch.setattr('socket.socket.connect', refuse)
    with raises(UsageError, network, '--no-pretrained'):
        cfg = recipe(tmp_path, network=network, pretrained=True)
        rehearse(training_config(save(cfg)))  # downloads

def refuse(*args):
    raise OSError('offline')


# ---- augmentation


def test_long_trainings_of_classifiers_erase_parts_of_images(tmp_path):
    steps = [[step.type for step in recipe(tmp_path, epochs=epochs).train_dataloader.dataset.pipeline]
             for epochs in (49, 50)]
    assert all('RandAugment' in names for names in steps)
    assert ['RandomErasing' in names for names in steps] == [False, True]


def test_averages_are_over_a_tenth_of_the_training(tmp_path):
    def momentum(epochs: int) -> float:
        cfg = recipe(tmp_path, ema=True, epochs=epochs)
        hook, = (hook for hook in cfg.custom_hooks if hook.type == 'EMAHook')
        return hook.update_buffers and hook.momentum

    steps = 15  # of an epoch
    assert [momentum(epochs) for epochs in (2, 40, 10**4)] == [0.1, pytest.approx(10 / (40 * steps)), 0.0002]
    assert 'EMAHook' not in {hook.type for hook in recipe(tmp_path).custom_hooks}


# ---- size and data


@TASKS
def test_images_have_the_size_in_training_and_validation(task, tmp_path):
    cfg = recipe(tmp_path, task, size=[64, 96])
    init_default_scope(cfg.default_scope)
    for split in 'train', 'val':
        shape = tuple(DATASETS.build(cfg[f'{split}_dataloader'].dataset)[0]['inputs'].shape[1:])
        if task == 'coco_folder':
            assert max(shape) <= 96 and min(shape) <= 64
        elif split == 'train' or task == 'class_folder':
            assert shape == (64, 96)
        else:
            assert shape[0] == 64  # segmenters test whole images


@pytest.mark.parametrize('size, shape', [(128, (200, 200)), ((64, 128), (200, 400)), ((128, 64), (400, 200))])
def test_classifiers_see_most_of_images_of_their_ratio(size, shape, tmp_path):
    cfg = recipe(tmp_path, size=size)
    init_default_scope('mmpretrain')
    rows, columns = np.meshgrid(*(np.linspace(0, 255, side, dtype=np.uint8) for side in shape), indexing='ij')
    seen = Compose(cfg.test_pipeline[1:-1])(dict(img=np.stack([rows, columns, rows], -1)))['img']
    assert seen.shape[:2] == ((size, size) if isinstance(size, int) else size)
    assert all(np.ptp(seen[..., axis]) / 255 == pytest.approx(224 / 256, abs=0.02) for axis in (0, 1))


@pytest.mark.parametrize('size', [(64, 128), (128, 64)])
@pytest.mark.parametrize('shape', [(200, 400), (400, 200)])
def test_segmenters_test_images_of_both_orientations_alike(size, shape, tmp_path):
    cfg = recipe(tmp_path, 'seg_folder', size=size)
    init_default_scope('mmseg')
    for resize in cfg.test_pipeline[1], cfg.tta_pipeline[1].transforms[0][0]:
        resized = Compose([resize])(dict(img=np.zeros((*shape, 3), np.uint8)))['img']
        assert resized.shape[:2] == (size if np.diff(size) * np.diff(shape) > 0 else size[::-1])


def test_boxes_without_masks_train_without_masks(tmp_path):
    folder = tmp_path / 'boxes'
    shutil.copytree(COCO, folder, ignore=shutil.ignore_patterns('semantic', 'large*'))
    remove_masks(folder)
    cfg = recipe(tmp_path, 'coco_folder', coco_folder=str(folder))
    assert cfg.model.type == 'FasterRCNN' and 'mask_head' not in cfg.model.roi_head
    assert cfg.val_evaluator.metric == ['bbox'] and 'boxes only' in cfg.text
    chosen = recipe(tmp_path, 'coco_folder', boxes_only=True)
    assert chosen.model.type == 'FasterRCNN' and chosen.val_evaluator.metric == ['bbox']


@pytest.mark.parametrize('number, topk', [(2, (1, )), (5, (1, )), (6, (1, 5))])
def test_accuracies_that_are_always_100_are_left_out(number, topk, tmp_path):
    for split in 'train', 'val':
        for label in range(number):
            (tmp_path / f'data/{split}/c{label}').mkdir(parents=True)
            shutil.copy(next(Path(FLOWERS).glob('val/*/*.jpg')), tmp_path / f'data/{split}/c{label}/a.jpg')
    cfg = recipe(tmp_path, class_folder=str(tmp_path / 'data'))
    assert cfg.val_evaluator[0].topk == topk and cfg.model.head.num_classes == number


# ---- file


@TASKS
def test_the_file_is_the_config(task, tmp_path, monkeypatch):
    """Also with paths relative to the current folder, which stay relative."""
    monkeypatch.chdir(ROOT)
    cfg = recipe(tmp_path, task, size=(64, 96), seed=3, **{task: str(Path(FOLDERS[task]).relative_to(ROOT))})
    path = save(cfg)
    read = Config.fromfile(path)
    assert without_scopes(read.to_dict()) == cfg.to_dict()
    assert read.train_dataloader.dataset.data_root.startswith('data/') and read.randomness.seed == 3


def without_scopes(value: Any) -> Any:
    """Returns settings without the scope that MMEngine adds to those of base files, which is that of the recipe."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(without_scopes, value))
    if isinstance(value, dict):
        return {key: without_scopes(each) for key, each in value.items() if key != '_scope_'}
    return value


@pytest.mark.parametrize('options, words', [
    (dict(), ['class_folder', 'coco_folder', 'seg_folder']),
    (dict(class_folder=FLOWERS, seg_folder=STREETS), ['exactly one', 'class_folder', 'seg_folder']),
    (dict(class_folder=FLOWERS, epochs=2, iters=3), ['epochs', 'iters']),
    (dict(class_folder=FLOWERS, lr=0.), ['lr', '0.0']),
    (dict(class_folder=FLOWERS, lr=float('nan')), ['lr', 'nan']),
    (dict(class_folder=FLOWERS, freeze='most'), ['freeze', 'most', 'all']),
    (dict(class_folder=FLOWERS, freeze='all'), ['freeze', 'all', 'weights', '--no-pretrained']),
    (dict(network='timm:hiera_tiny_224', coco_folder=COCO), ['timm:hiera_tiny_224', '224 x 224']),
    (dict(network='timm:hiera_tiny_224', class_folder=FLOWERS, size=64), ['timm:hiera_tiny_224', 'size=224']),
    (dict(network='timm:resnet18', class_folder=FLOWERS, freeze=9, pretrained=True),
     ['frozen_stages', 'timm:resnet18', '9']),
    (dict(class_folder=FLOWERS, precision='int8'), ['precision', 'int8', 'bfloat16']),
    (dict(class_folder=FLOWERS, boxes_only=True), ['boxes_only', 'coco_folder']),
    (dict(seg_folder=STREETS, light=True), ['light', 'coco_folder', 'seg_folder']),
    (dict(class_folder=FLOWERS, size=(1, 2, 3)), ['size', '(1, 2, 3)']),
    (dict(class_folder=FLOWERS, val_fraction=0.5), ['val_fraction', 'val']),
    (dict(class_folder='nowhere'), ['nowhere']),
    (dict(network='resnet51', class_folder=FLOWERS), ['resnet51', 'resnet50', 'timm:NAME']),
    (dict(network='timm:nothing', class_folder=FLOWERS), ['nothing']),
    (dict(network=dict(type='mmdet.ResNet', depth=19), class_folder=FLOWERS), ['mmdet.ResNet', '19'])])
def test_wrong_arguments_are_refused(options, words, tmp_path):
    with raises(UsageError, *words):
        fine_tune(**{'network': 'rest_lite', 'pretrained': False, 'work_dir': str(tmp_path), 'check_files': False,
                     **options})
    assert not list(tmp_path.glob('recipe/*.py'))


@TASKS
def test_a_moved_run_reads_its_own_lists(task, tmp_path, monkeypatch):
    """Also if another run is in its old place; the paths may be relative to the folder of the training."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FOLDERS[task], 'data')
    if task == 'coco_folder':  # a repaired copy of the annotations
        path = Path('data/annotations/instances_val.json')
        content = json.loads(path.read_text(encoding='utf-8'))
        content['categories'].reverse()
        path.write_text(json.dumps(content), encoding='utf-8')
    cfg = recipe(tmp_path, task, work_dir='run', **{task: 'data'})
    saved = save(cfg)
    Path(saved).parent.parent.joinpath('config.py').write_text(cfg.text)
    shutil.copytree('run', 'moved')
    for config in 'moved/config.py', saved.replace('run', 'moved', 1):
        found = RunFolder.open(config).config
        lists = [part for part in (*datasets_of(found, 'test'), *metrics_of(found, 'test')) if 'ann_file' in part]
        assert lists
        for part in lists:
            place = Path(part.get('data_root') or '', part['ann_file']).resolve()
            assert place.is_file() and place.parent == (tmp_path / 'moved/recipe').resolve()
    shutil.rmtree('data')
    with raises(UsageError, str(tmp_path / 'data'), 'test_dataloader', '--data-root'):
        check_data(found, ['test'])


# ---- what is recorded


DETECTOR, SPLIT = dict(class_folder=None, coco_folder=COCO), dict(class_folder='flat', val_fraction=0.5)
WEIGHTS = dict(pretrained='weights.pth')
# Argument -> another value of it, or options of two recipes that differ in it.
CHANGES: dict[str, Any] = dict(
    network='rest_small', class_folder=({}, dict(class_folder='flat', val_fraction=0.5)), coco_folder=({}, DETECTOR),
    seg_folder=({}, dict(class_folder=None, seg_folder=STREETS)), size=96, epochs=7, iters=40, batch_size=3,
    accumulate=2, lr=0.01, freeze=(WEIGHTS, dict(WEIGHTS, freeze=1)), pretrained='weights.pth',
    boxes_only=(DETECTOR, dict(DETECTOR, boxes_only=True)),
    val_fraction=(SPLIT, dict(SPLIT, val_fraction=0.25)), split_seed=(SPLIT, dict(SPLIT, split_seed=1)), early_stop=2,
    ema=True, light=(DETECTOR, dict(DETECTOR, light=True)), seed=5, layer_decay=0.5,
    precision='bfloat16', compile=True, workers=3, processes=2, work_dir='other')


def test_every_argument_is_a_field_that_can_be_changed():
    """But for the check of the files. Numbers have limits."""
    assert CHANGES.keys() | {'check_files'} == FIELDS.keys()
    of_fields, of_function = (signature(function).parameters for function in (FineTuning, fine_tune))
    assert [(each.name, each.default, each.annotation) for each in of_fields.values()] == [
        (each.name, each.default, each.annotation) for each in of_function.values()]
    assert not [name for name, each in FIELDS.items() if {int, float} & {*get_args(each.type), each.type}
                and not each.metadata['limits']]


@pytest.mark.parametrize('argument', CHANGES)
def test_every_argument_changes_the_config_and_is_recorded(argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, image in enumerate(sorted(Path(FLOWERS).glob('val/*/*.jpg'))):
        folder = tmp_path / 'flat' / image.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder / f'{number}.jpg')
    torch.save(get_model('rest_lite').state_dict(), 'weights.pth')
    change = CHANGES[argument]
    contents = []
    for options in change if isinstance(change, tuple) else ({}, {argument: change}):
        cfg = recipe(tmp_path, **options)
        recorded = cfg.recipe.to_dict()
        assert {name: value for name, value in options.items() if value is not None}.items() <= recorded.items()
        lists = [path.read_text() for path in sorted(tmp_path.glob('**/*.txt'))]
        contents.append(({**cfg.to_dict(), 'recipe': None}, lists))
    assert contents[0] != contents[1]


@pytest.mark.parametrize('task, options', [
    ('class_folder', {'default_hooks.logger.interval': 1, 'log_processor.window_size': 1,
                      'model.head.loss._delete_': True, 'model.head.loss.type': 'CrossEntropyLoss',
                      'train_dataloader.num_workers': 2}),
    ('coco_folder', {'model.rpn_head.anchor_generator.scales': [4], 'test_evaluator.classwise': False,
                     'train_dataloader.dataset.pipeline.3.prob': 0., 'visualizer.vis_backends': []}),
    ('seg_folder', {'model.decode_head.dropout_ratio': 0.3, 'optim_wrapper.type': 'AmpOptimWrapper',
                    'val_dataloader.batch_size': 2, 'randomness.seed': 1})])
def test_a_recipe_has_the_options_that_train(task, options, tmp_path):
    """Those of its sections, of base files and others, by their keys and indices of lists; all else is as without."""
    given = {task: FOLDERS[task], 'check_files': False, 'pretrained': False}
    plain = Config.fromfile(save(recipe(tmp_path, task)))
    given = FineTuning(network='rest_lite', **given, work_dir=plain.work_dir)
    trained = Config.fromfile(save(plan_fine_tuning(given, options)))
    plain.merge_from_dict(options)
    settled = [{*cfg.pop('of_machine')} for cfg in (plain, trained)]
    assert settled[0] - settled[1] == dict(class_folder={'workers'}, seg_folder={'precision'}).get(task, set())
    plain, trained = ({**without_scopes(cfg.to_dict()), 'recipe': None} for cfg in (plain, trained))
    assert plain == trained


@pytest.mark.parametrize('name', OPTIONS)
def test_a_setting_of_an_argument_is_no_option_beside_a_network_and_a_folder(name):
    for key in FIELDS[name].metadata['keys']:
        with raises(UsageError, key, f'--{name.replace("_", "-")}'):
            find_fine_tuning('rest_lite', dict(class_folder=FLOWERS), options={key: 3})
    with raises(UsageError, 'model.backbone.arch', 'network'):
        find_fine_tuning('rest_lite', dict(class_folder=FLOWERS), options={'model.backbone.arch': 'small'})


@pytest.mark.parametrize('task, options, words', [
    ('class_folder', {'optim_wrapper.optimizer.type': 'SGD', 'train_cfg.val_interval': 2,
                      'train_dataloader.dataset.pipeline.1.scale': 96, 'train_dataloader.dataset.indices': 32},
     ['SGD', 'every 2 epochs', '96 x 96', '32 training images', 'of 2 steps of 16 images']),
    ('class_folder', {'load_from': 'own.pth', 'val_dataloader': None, 'val_cfg': None, 'val_evaluator': None,
                      'train_dataloader.drop_last': True, 'auto_scale_lr.enable': True,
                      'auto_scale_lr.base_batch_size': 4, 'optim_wrapper.optimizer.lr': .01,
                      'optim_wrapper.paramwise_cfg.custom_keys': {'head': dict(lr_mult=2.)}},
     ['the whole model of own.pth', ': 240 training images', 'epochs of 16 images', ', 0.04 at its peak, others by']),
    ('coco_folder', {'model.roi_head.mask_head.conv_out_channels': 256, 'optim_wrapper.paramwise_cfg.decay_rate': .7},
     ['rest_lite, Mask R-CNN', 'times 0.7']),
    ('seg_folder', {'model.backbone.out_indices': (0, 1, 2, 3), 'optim_wrapper.dtype': 'bfloat16',
                    'train_dataloader.dataset.pipeline.3.crop_size': (64, 96), 'optim_wrapper.type': 'AmpOptimWrapper',
                    'train_dataloader.dataset.pipeline.6.size': (96, 80)},
     ['80 x 96', 'bfloat16', '(0, 1, 2, 3)'])])
def test_the_summary_says_what_trains(task, options, words, tmp_path):
    given = FineTuning(network='rest_lite', pretrained=False, light=task == 'coco_folder', check_files=False,
                       work_dir=str(tmp_path / 'run'), **{task: FOLDERS[task]})
    cfg = plan_fine_tuning(given, options)
    lines = summary(Config.fromfile(save(cfg)))
    assert all(any(word in line for line in lines) for word in words), lines
    assert cfg.text.startswith(''.join(f'# {line}\n' for line in lines))


@pytest.mark.parametrize('recorded, given, differs', [
    (64, [64], False), ([64], 64, False), ((48, 64), [48, 64], False), (64, [48, 64], True), (None, [64], True)])
def test_one_side_is_a_list_of_it(recorded, given, differs):
    assert bool(find_difference(dict(size=given), FineTuning(network='rest_lite', size=recorded))) == differs


def test_a_recipe_takes_precision_and_workers_of_the_machine_that_runs_it(tmp_path, monkeypatch):
    """Unless they were given, or taken out of the file's list."""
    left, given = recipe(tmp_path / 'left'), recipe(tmp_path / 'given', precision='float32', workers=1)
    files = [save(left), save(given)]
    edited = tmp_path / 'edited.py'
    assert "'workers'" in left.text
    edited.write_text(left.text.replace(", 'workers'", '') + 'val_dataloader.update(num_workers=7)\n')
    monkeypatch.setattr(machine, 'find_settings_here', lambda: dict(precision='float16', workers=3))
    runs = [training_config(str(file)) for file in (*files, edited)]
    assert [(cfg.optim_wrapper.type, cfg.val_dataloader.num_workers) for cfg in runs] == [
        ('AmpOptimWrapper', 3), ('OptimWrapper', 1), ('AmpOptimWrapper', 7)]
    assert training_config(files[0], precision='float32').optim_wrapper.type == 'OptimWrapper'
