"""Runs the examples in docstrings and on pages, and checks commands, names of files, and links."""
import doctest
import hashlib
import importlib
import json
import logging
import pkgutil
import re
import shlex
import warnings
from contextlib import suppress
from pathlib import Path
from string import Template

import cv2
import numpy as np
import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS
from helpers import ROOT
from markdown.extensions.toc import slugify
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from subcommands import parser_of

import mmvit.cli
import mmvit_backbones
from mmvit import fine_tune
from mmvit.configs.options import check_option
from mmvit.folders.coco import Coco
from mmvit.folders.coco_rules import coco_problems
from mmvit.running.strides import checked_strides
from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.reading import read_file

MODULES = [name for package in (mmvit_backbones, mmvit)
           for _, name, _ in pkgutil.walk_packages(package.__path__, f'{package.__name__}.')]
DOCS = sorted(ROOT.glob('docs/*.md'))
README = ROOT / 'README.md'
NOTEBOOKS = sorted(ROOT.glob('docs/tutorials/*.ipynb'))
PAGES = {page.name: page for page in (README, *DOCS)}
QUICK = ('README.md', 'adding_a_network.md', 'ops.md')
MARKS = {'export.md': pytest.mark.compiler, 'python.md': pytest.mark.workflow}  # it compares trained networks
YOUR_OWN = {'configs/my_config.py', 'docs/patch_mixer.md'}


def examples(name: str) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder().find(importlib.import_module(name)) if test.examples]


@pytest.mark.parametrize('name', MODULES)
def test_examples(name, monkeypatch):
    monkeypatch.setattr(logging.root.manager, 'disable', logging.INFO)  # hides the choice of backends
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in examples(name):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.enumerates
def test_every_backbone_has_an_example():
    from mmvit_backbones.zoo.variants import VARIANTS
    shown = {test.name.rsplit('.', 1)[-1] for name in MODULES for test in examples(name)}
    assert {variant.family.backbone for variant in VARIANTS.values()} <= shown


# ---- examples on pages: a block with _base_ is a config; the other blocks of a page are one program


def blocks(page: str) -> list[str]:
    return re.findall(r'^```python\n(.*?)^```$', PAGES[page].read_text(), flags=re.MULTILINE | re.DOTALL)


def is_config(block: str) -> bool:
    return '_base_ = ' in block


def param(page: str, *values, id: str):
    mark = MARKS.get(page, pytest.mark.slow)
    return pytest.param(*values, id=id, marks=[] if page in QUICK else [mark])


CONFIGS = [param(page, block, id=f'{page}-{i}') for page in PAGES for i, block in enumerate(blocks(page))
           if is_config(block)]
# Configs of docs/own_project.md, whose first line is their file name.
NAMED = {block.split('\n')[0].removeprefix('# '): block for block in blocks('own_project.md') if block.startswith('# ')}
# integrations/test_adapters.py runs docs/adapters.md.
PROGRAMS = [param(page, page, id=page) for page in PAGES if page != 'adapters.md'
            and any(not is_config(block) for block in blocks(page))]


@pytest.fixture(scope='module')
def published(tmp_path_factory) -> Path:
    """Returns the path of a checkpoint in the authors' layout, whose folder is also used as the cache."""
    path = tmp_path_factory.mktemp('published') / 'reswin_tiny.pth'
    weights = fill_state_dict(NETWORKS['golden_reswin_tiny']['state_dict'], torch.float32)
    torch.save(dict(model=weights), path)
    return path


@pytest.mark.usefixtures('symbolic_shapes')  # for the export
@pytest.mark.filterwarnings("ignore:Only use 'alpha' for pillow backend")  # of mmcv, in SimCLR's augmentations
@pytest.mark.parametrize('page', PROGRAMS)
def test_program_on_page(page, published, tmp_path, monkeypatch):
    link_data(tmp_path / 'data', page)
    (tmp_path / 'checkpoints').symlink_to(published.parent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMVIT_HOME', str(published.parent))
    if page == 'own_data.md':
        make_cats(tmp_path)
    if page == 'python.md':
        film = cv2.VideoWriter('film.avi', cv2.VideoWriter_fourcc(*'MJPG'), 5, (64, 64))
        for _ in range(3):
            film.write(np.zeros((64, 64, 3), np.uint8))
        film.release()
    program = '\n'.join(block for block in blocks(page) if not is_config(block))
    if page == 'weights.md':  # tests download nothing
        program = program.replace('pretrained=True', 'pretrained=False')
    if page == 'python.md':  # comparing/test_compare.py compares two
        program = program.replace("compare(['rest_lite', 'rest_small']", "compare(['rest_lite']")
    try:
        with torch.set_grad_enabled(page in ('python.md', 'weights.md')):
            exec(compile(program, page, 'exec'), {'__name__': page})
    finally:
        for name in [name for name, module in MODELS.module_dict.items() if module.__module__ == page]:
            del MODELS.module_dict[name]
    if page == 'weights.md':
        check_detector(tmp_path)
    if page == 'own_data.md':
        for file in 'cats/annotations/instances_train.json', 'dogs/annotations/instances.json':
            content = json.loads((tmp_path / file).read_text())
            folder = tmp_path / file.split('/')[0] / ('train' if 'train' in file else 'images')
            assert not coco_problems(Coco(file, content, str(folder))) and content['categories'][0]['name'] == 'cat'
            assert [round(side) for side in content['annotations'][0]['bbox']] == [10, 10, 20, 20]


def link_data(folder: Path, page: str) -> None:
    """Links the data sets; of the flowers, only those that the page names, and a few of each class to train on."""
    folder.mkdir()
    for name in 'coco_mini', 'camvid_mini':
        (folder / name).symlink_to(ROOT / 'data' / name)
    for images in ROOT.glob('data/flowers_mini/*/*/'):
        linked = folder / images.relative_to(ROOT / 'data')
        linked.mkdir(parents=True)
        for i, image in enumerate(sorted(images.glob('*.jpg'))):
            if i < 4 or image.name in PAGES[page].read_text():
                (linked / image.name).symlink_to(image)


def check_detector(folder: Path) -> None:
    """Checks that the page's detector starts from the weights that its program has trained."""
    text, = filter(is_config, blocks('weights.md'))
    (folder / 'detector.py').write_text(text)
    cfg = Config.fromfile(folder / 'detector.py')
    init_default_scope(cfg.default_scope)
    detector = MODELS.build(cfg.model)
    detector.init_weights()
    trained = read_file(cfg.model.backbone.init_cfg.checkpoint)['model']
    own = detector.backbone.state_dict()
    assert all(torch.equal(x, trained[f'backbone.{name}']) for name, x in own.items()
               if not name.startswith('norm'))  # the norms of a detector's maps are new


def make_cats(folder: Path) -> None:
    """Writes an image with a box around the pixels 10 to 30 in the formats of YOLO and Pascal VOC."""
    for name in 'cats_yolo/images/train', 'cats_yolo/labels/train', 'cats_voc/JPEGImages', 'cats_voc/Annotations':
        (folder / name).mkdir(parents=True)
    for name in 'cats_yolo/images/train', 'cats_voc/JPEGImages':
        Image.new('RGB', (40, 40)).save(folder / name / 'a.jpg')
    (folder / 'cats_yolo/data.yaml').write_text('names: [cat]\n')
    (folder / 'cats_yolo/labels/train/a.txt').write_text('0 0.5 0.5 0.5 0.5\n')
    (folder / 'cats_voc/Annotations/a.xml').write_text(
        '<annotation><filename>a.jpg</filename><size><width>40</width><height>40</height><depth>3</depth></size>'
        '<object><name>cat</name><bndbox><xmin>11</xmin><ymin>11</ymin><xmax>30</xmax><ymax>30</ymax></bndbox>'
        '</object></annotation>')


@pytest.mark.parametrize('text', CONFIGS)
@torch.no_grad()
def test_config_on_page(text, tmp_path, monkeypatch):
    """Builds the model and the optimizer, and runs the model."""
    monkeypatch.setattr(logging.root.manager, 'disable', logging.INFO)  # hides three log lines per parameter
    for name, block in NAMED.items():
        (tmp_path / name).write_text(block)
    (tmp_path / 'my_config.py').write_text(text)
    for file in tmp_path.iterdir():  # tests download nothing
        file.write_text(file.read_text().replace('pretrained=True', 'pretrained=False'))
    config = Config.fromfile(tmp_path / 'my_config.py')
    init_default_scope(config.default_scope)
    with torch.device('meta'), warnings.catch_warnings(action='ignore'):
        model = MODELS.build(config.model).eval()
        maps = model.extract_feat(torch.rand(2, getattr(model.backbone, 'in_channels', 3), 64, 96))
        with checked_strides(model, (64, 96)):
            for part in ('rpn_head', 'bbox_head', 'decode_head', 'auxiliary_head', 'head'):
                if hasattr(model, part):
                    getattr(model, part)(maps)
    assert type(model.backbone).__module__.startswith('mmvit_backbones')
    build_optim_wrapper(model, config.optim_wrapper)


# ---- commands, files and links


@pytest.mark.parametrize('page', PAGES)
def test_files_and_targets_on_page_exist(page):
    text = PAGES[page].read_text()
    named = set(re.findall(r'(?<!/)\b(?:configs|data|docs|tools)/[\w/]+\.(?:md|py|sh)', text)) - YOUR_OWN
    named -= set(re.findall(r' title="(.+?)"', text))  # files whose content is on the page
    rows = re.findall(r'^\| `mmvit .*', text, flags=re.MULTILINE)
    named -= {name for row in rows for name in row.split('`')}  # OpenMMLab's scripts that correspond to subcommands
    assert not [path for path in named if not (ROOT / path).exists()]
    makefile = (ROOT / 'Makefile').read_text()
    assert all(f'\n{target}:' in makefile for target in re.findall(r'^make ([\w-]+)', text, flags=re.MULTILINE))


SUBCOMMAND = f'(?:{"|".join(mmvit.cli.SUBCOMMANDS)})'


@pytest.mark.parametrize('page', PAGES)
def test_options_on_page_exist(page):
    for subcommand, arguments in re.findall(rf'\bmmvit ({SUBCOMMAND})\b([^\n`#|]*)', PAGES[page].read_text()):
        known = {flag for action in parser_of(subcommand)._actions for flag in action.option_strings}
        assert not set(re.findall(r'(?<!\S)--[\w-]+', arguments)) - known, subcommand


@pytest.mark.parametrize('page', PAGES)
def test_options_in_text_exist(page):
    """Those that stand alone are of a command or a script that their section or the one before it names."""
    before = set()
    for section in re.split(r'^#+ ', PAGES[page].read_text(), flags=re.MULTILINE):
        here = {flag for name in re.findall(rf'\bmmvit ({SUBCOMMAND})\b', section)
                for action in parser_of(name)._actions for flag in action.option_strings}
        scripts = [*re.findall(r'tools/dev/\w+\.py', section),
                   *(f'{name.replace(".", "/")}.py' for name in re.findall(r'python -m ([\w.]+)', section))]
        here |= {flag for script in scripts for flag in re.findall(r"'(--[\w-]+)'", (ROOT / script).read_text())}
        named = {flag for span in re.findall(r'`(-[^`\n]+)`', section) for flag in re.findall(r'--[\w-]+', span)}
        assert not named - here - before
        before = here or before


@pytest.fixture(scope='module')
def recipes() -> list[Config]:
    folders = dict(class_folder='flowers_mini', coco_folder='coco_mini', seg_folder='camvid_mini')
    made = [fine_tune('rest_lite', pretrained=False, check_files=False, **{kind: str(ROOT / 'data' / name)})
            for kind, name in folders.items()]
    return [*made, Config.fromfile(ROOT / 'configs/mask_rcnn_reswin_t.py')]


@pytest.mark.parametrize('page', PAGES)
def test_settings_of_cfg_options_on_page_exist(page, recipes):
    for settings in re.findall(r"--cfg-options((?: +'?[\w.]+=[^\s'`]+'?)+)", PAGES[page].read_text()):
        for key in re.findall(r'([\w.]+)=', settings):
            assert any(exists(cfg, key) for cfg in recipes), key


def exists(cfg: Config, key: str) -> bool:
    with suppress(UsageError):
        check_option(cfg, key)
        return True
    return False


def test_subcommands_on_pages_and_in_messages_exist():
    files = [README, ROOT / 'CONTRIBUTING.md', ROOT / 'docker/README.md', *DOCS, *NOTEBOOKS,
             *ROOT.glob('mmvit/**/*.py'), *ROOT.glob('mmvit_backbones/**/*.py')]
    groups = {name.split()[0] for name in mmvit.cli.SUBCOMMANDS}  # such as `mmvit draw`
    for file in files:
        for first, second in re.findall(r'(?<![\w/.-])mmvit\s+(?!import|has)([a-z]+)(?: +([a-z]+))?',
                                        file.read_text(encoding='utf-8')):
            known = {*mmvit.cli.SUBCOMMANDS, *([] if second else groups)}
            assert {first, f'{first} {second}'} & known, f'{file.name}: mmvit {first} {second}'


def commands(page: str) -> list[tuple[str, list[str]]]:
    """Returns the subcommand and arguments of each command on a page; ``tools/train.py`` counts as ``train``."""
    found = []
    blocks = re.findall(r'^```([^\n]*)\n(.*?)^```$', PAGES[page].read_text(), flags=re.MULTILINE | re.DOTALL)
    for block in (text for language, text in blocks if not language):
        variables = {}
        for line in block.replace('\\\n', ' ').splitlines():
            line = Template(line).safe_substitute(variables)
            if match := re.fullmatch(r'(\w+)=(\S+|".*"|\'.*\')', line):
                variables[match[1]] = shlex.split(match[2])[0]
            elif match := re.match(rf'(?!error)(?:.*\s)?mmvit ({SUBCOMMAND}) (.+)', line):
                found.append((match[1], shlex.split(match[2], comments=True)))
            elif match := re.match(r'(?!error).*\btools/((?:dist_|slurm_)?)(train|test|predict)\.(?:py|sh) (.+)', line):
                words = shlex.split(match[3], comments=True)
                skipped = {'dist_': words[:1] + words[2:], 'slurm_': words[2:3] + words[4:], '': words}
                found.append((match[2], skipped[match[1]]))
    return found


@pytest.mark.parametrize('page', [page for page in PAGES if commands(page)])
def test_commands_on_page_can_be_parsed(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for subcommand, arguments in commands(page):
        parser_of(subcommand).parse_args(arguments)


@pytest.mark.parametrize('subcommand', mmvit.cli.SUBCOMMANDS)
def test_examples_in_the_help_can_be_parsed(subcommand, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    text = mmvit.cli.module_of(subcommand).__doc__
    examples = re.findall(rf'^ +mmvit {subcommand}\b(.*)', text, flags=re.MULTILINE)
    assert examples
    for example in examples:
        words = shlex.split(re.split(' {2,}', example.strip())[0], comments=True)
        parser_of(subcommand).parse_args(words)


@pytest.mark.parametrize('page', [README, ROOT / 'CONTRIBUTING.md', *DOCS, *NOTEBOOKS], ids=lambda path: path.name)
def test_modules_on_page_exist(page):
    text = page.read_text(encoding='utf-8')
    for name in set(re.findall(r'(?<![\w./-])mmvit(?:_backbones)?(?:\.[a-zA-Z_]\w*)+(?![\w/-])', text)):
        pkgutil.resolve_name(name)


@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_of_notebook_are_current(notebook):
    """The output of each cell is from its current code, without errors."""
    cells = [cell for cell in json.loads(notebook.read_text())['cells'] if cell['cell_type'] == 'code']
    old = [cell['id'] for cell in cells if cell['metadata'].get('sha256_of_run_code') != hashlib.sha256(
        ''.join(cell['source']).encode()).hexdigest()]
    assert not old, f"the outputs are out of date: run make tutorials TUTORIALS='{notebook.stem} --save'"
    assert any('image/png' in output.get('data', {}) for cell in cells for output in cell['outputs'])
    assert not any(output['output_type'] == 'error' for cell in cells for output in cell['outputs'])


def anchors(page: Path) -> set[str]:
    text = page.read_text(encoding='utf-8')
    return {slugify(heading, '-') for heading in re.findall(r'^#+ (.+)', text, flags=re.MULTILINE)}


@pytest.mark.parametrize('page', [README, ROOT / 'CONTRIBUTING.md', ROOT / 'data/README.md', *DOCS],
                         ids=lambda page: str(page.relative_to(ROOT)))
def test_targets_of_links_exist(page):
    for path, anchor in re.findall(r'\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)', page.read_text()):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f'{path}#{anchor}'
