"""The table of variants agrees with the metafiles, the documentation and the names of the configs."""
import re
import runpy
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from inspect import signature

import pytest
import yaml
from helpers import ROOT, raises
from mmengine.config import Config
from mmengine.registry import MODELS

from mmvit.configs.backbone import setting_of
from mmvit.frameworks.building import import_quietly
from mmvit.recipes.networks import find_network
from mmvit_backbones.zoo.published import PUBLISHED, RESULTS
from mmvit_backbones.zoo.settings import setting
from mmvit_backbones.zoo.variants import VARIANTS, Normalization

pytestmark = pytest.mark.enumerates
CONFIGS = sorted(ROOT.glob('configs/*.py'))
METAFILES = runpy.run_path(str(ROOT / 'tools/dev/make_metafiles.py'))
CONFIG_TASKS, parse_config_name = METAFILES['DATA'].keys(), METAFILES['parse_config_name']
FACTS = {'params_m', 'flops_g', 'images_per_s', 'days', 'depth', 'embed_dim', 'num_heads', 'val_loss'}  # published
DIFFERENCES = {
    '3x', '80k',  # schedules
    '384', '448', '769', 'dagger',  # image sizes
    '22k', 'ade20k', 'camvid', 'cityscapes', 'real',  # data and labels
    'peg',  # position encoding
    'pretrain',  # pretraining of weights for other configs
}


@pytest.mark.parametrize('path', [*CONFIGS, *sorted(ROOT.glob('tests/configs/*.py'))], ids=lambda path: path.stem)
def test_a_config_has_a_regular_name(path):
    _, _, differences = parse_config_name(path.stem)
    assert set(differences) <= DIFFERENCES


def test_configs_name_the_authors_weights():
    named = [found for path in CONFIGS for found in re.findall(r'official://(\w+)/?(\w*)', path.read_text())]
    assert named and {name for name, _ in named} <= VARIANTS.keys()
    assert not [name for name, tag in named if not VARIANTS[name].has_weights(tag or True)]


def test_configs_start_from_checkpoints_of_other_configs():
    """They start from the best averaged weights, whose results are published, or from the last weights."""
    text = ''.join(path.read_text() for path in CONFIGS)
    started = set(re.findall(r"load_from = 'work_dirs/(\w+)(\S*)'", text))  # MMEngine itself opens files alone
    assert started == {(name, f'/epoch_{epochs_of(name)}.pth') for name, _ in started}
    named = set(re.findall(r"checkpoint='work_dirs/(\w+)(/epoch_\d+\.pth)?'", text))
    assert len(named) == len({name for name, _ in named})
    for name, file in named:
        config = Config.fromfile(ROOT / f'configs/{name}.py')
        averages = any(hook['type'] == 'EMAHook' for hook in config.get('custom_hooks', []))
        best = '' if averages and config.get('val_evaluator') else f'/epoch_{epochs_of(name)}.pth'
        assert file == best, name


def epochs_of(name: str) -> int:
    return Config.fromfile(ROOT / f'configs/{name}.py').train_cfg.max_epochs


def test_names_of_configs_are_checked():
    with raises(ValueError, 'upernet_resnet_50', 'semantic_fpn', 'reswin_t'):
        parse_config_name('upernet_resnet_50')


@pytest.fixture(scope='module')
def written() -> dict[str, str]:
    pytest.importorskip('timm')  # knows the license of weights of related networks
    files = METAFILES['make_files']()
    return {str(path.relative_to(ROOT)): text for path, text in files.items()}


def test_metafiles_and_tables_are_those_of_the_zoo(written):
    different = [name for name, text in written.items() if (ROOT / name).read_text() != text]
    superfluous = {f'configs/metafiles/{path.name}' for path in ROOT.glob('configs/metafiles/*')} - written.keys()
    assert not different and not superfluous, 'run python tools/dev/make_metafiles.py'


def test_mim_gets_what_it_needs_of_every_config(written):
    index = yaml.safe_load(written['model-index.yml'])
    metafiles = [yaml.safe_load(written[name]) for name in index['Import']]
    models = [model for metafile in metafiles for model in metafile['Models']]
    assert sorted(model['Config'] for model in models) == [f'configs/{path.name}' for path in CONFIGS]
    weights = [model['Weights'] for model in models if 'Weights' in model]
    assert weights and all(re.fullmatch(r'https://github\.com/\S+/releases/download/\S+\.pth', x) for x in weights)
    # For models without weights, mim uses the collection's Weight. It downloads nothing if Weight ends with a slash
    # and has no comma.
    for metafile in metafiles:
        assert re.fullmatch('[^,]+/', metafile['Collections'][0]['Metadata']['Weight'])


def test_published_figures_have_a_config():
    assert RESULTS.keys() <= {path.stem for path in CONFIGS}
    assert {line['key'] for line in PUBLISHED} - FACTS == METAFILES['METRICS'].keys()  # others would be on no page


@pytest.mark.parametrize('framework', ['mmpretrain', 'mmdet', 'mmseg'])
def test_configs_name_the_networks_of_this_package(framework):
    """Inside a framework's model, a name in its own registry comes first, unless it has the scope mmengine."""
    pytest.importorskip(framework)
    import_quietly(framework)
    names = {name for name, cls in MODELS.module_dict.items() if cls.__module__.startswith('mmvit_backbones.')}
    assert {variant.family.backbone for variant in VARIANTS.values()} <= names
    taken = names & import_module(f'{framework}.registry').MODELS.module_dict.keys()
    assert not [path for path in CONFIGS for name in taken if f"type='{name}'" in path.read_text()]


@pytest.mark.parametrize('variant', VARIANTS.values(), ids=list(VARIANTS))
def test_pages_name_variants_and_their_sources(variant):
    page = (ROOT / variant.family.docs).read_text()
    assert f'`{variant.name}`' in page
    assert variant.family.paper in page and variant.family.code in page


SET_BY_CONFIGS = {'drop_path_rate', 'drop_rate', 'init_cfg', 'norm_eval', 'out_indices'}  # of a schedule or a head
DENSE = [path.stem for path in CONFIGS if not path.stem.startswith('imagenet')]


@cache
def model_of(config: str) -> tuple[dict, Normalization | None]:
    """Returns the backbone of a config, and how it normalizes images."""
    return setting_of(Config.fromfile(ROOT / f'configs/{config}.py'))


def differences(backbone: Mapping, other: Mapping) -> set[str]:
    """Returns the keys of a backbone whose values another one does not have, given or by default."""
    defaults = {key: value.default for key, value in signature(MODELS.get(backbone['type'])).parameters.items()}
    return {key for key, value in backbone.items()
            if key not in SET_BY_CONFIGS and other.get(key, defaults.get(key)) != value}


@pytest.mark.parametrize('name', DENSE)
def test_recipes_of_dense_tasks_have_the_arguments_of_their_config(name):
    """Of the weights with which it starts, or which it trained; a recipe also saves memory where a config does not."""
    _, variant, words = parse_config_name(name)
    backbone, _ = model_of(name)
    tag, init = '_'.join(['mask_rcnn', *words]), backbone.get('init_cfg') or dict(checkpoint='')
    weights = tag if tag in variant.weights else init['checkpoint'].startswith('official') and init['checkpoint']
    recipe = find_network(variant.name, weights).backbone
    assert not differences(backbone, recipe) and differences(recipe, backbone) <= {'with_cp'}


@pytest.mark.parametrize('variant, tag', [(variant, tag) for variant in VARIANTS.values() for tag in variant.weights],
                         ids=lambda value: getattr(value, 'name', value))
def test_recipes_from_published_weights_take_images_and_backbone_of_their_config(variant, tag):
    """By tag, name, URL and file, of detectors also in the classifiers that start from them."""
    config = variant.config_name(tag)
    is_dense = not config.startswith('imagenet')
    backbone, images = model_of(config)
    published = variant.weights[tag]
    for weights in (tag, f'official://{variant.name}/{tag}', *published.urls, f'folder/{published.file_name}'):
        for settings in ('classification', 'dense') if is_dense else ('classification', ):
            found = find_network(variant.name, weights, settings)
            assert found.images == images
            assert not is_dense or not differences(backbone, found.backbone)


@pytest.mark.parametrize('variant', VARIANTS.values(), ids=list(VARIANTS))
def test_pages_give_the_arguments_of_dense_tasks(variant):
    page, of_classifier = (ROOT / variant.family.docs).read_text(), setting(variant).backbone
    dense = {key: value for key, value in setting(variant, 'dense').backbone.items() if of_classifier.get(key) != value}
    assert all(f'{key}={value!r}' in page for key, value in dense.items())


def test_tasks_are_those_of_the_configs():
    assert {parse_config_name(path.stem)[0] for path in CONFIGS} == set(CONFIG_TASKS)
