"""Writes what follows from the tables in mmvit_backbones/zoo/ and from docstrings.

These are the imports of the networks, metafiles, NOTICE, docs/papers.md, tables and the list of pages of the
documentation, and a first page for a new family, to be completed by hand.

    python tools/dev/make_metafiles.py
    python tools/dev/make_metafiles.py --check    # writes nothing; fails if a file differs

Metafiles are in OpenMMLab's format for mim, with two workarounds. mim converts strings in Metadata, but not mappings,
to lower case, which would break the ids of files on cloud drives. URLs of checkpoints are therefore in a mapping.
`mim download` fails for a model without Weights, unless its collection has `Weight` in Metadata. If `Weight` ends with
a slash, nothing is downloaded.
"""
import argparse
import csv
import re
import runpy
import sys
import textwrap
from collections.abc import Iterable
from functools import cache, partial
from importlib import import_module
from itertools import chain, groupby
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import yaml

import mmvit_backbones
from mmvit.fine_tuning import OPTIONS, setting_of
from mmvit.folders.class_folder import CLASS_RULES
from mmvit.folders.coco_rules import COCO_RULES
from mmvit.folders.rasters import RASTER_RULES
from mmvit.folders.rules import HALF, Rule
from mmvit.folders.seg_folder import SEG_RULES
from mmvit.naming import TAKES, list_kinds
from mmvit_backbones.backbones import Backbone
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.messages import markdown_table
from mmvit_backbones.zoo.hubs import images_of, timm_config
from mmvit_backbones.zoo.loading import LIBRARY_LAYOUTS
from mmvit_backbones.zoo.published import PUBLISHED, RESULTS
from mmvit_backbones.zoo.variants import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    VARIANTS,
    Family,
    Variant,
    task_of,
)
from mmvit_backbones.zoo.weights import PublishedFile, host_of

ROOT = Path(__file__).resolve().parents[2]
NOTE = '# Written by tools/dev/make_metafiles.py from the tables in mmvit_backbones/zoo/.\n'
# Key of a published value -> task, dataset and metric in the metafiles.
METRICS = {
    'top1': ('Image Classification', 'ImageNet-1k', 'published Top 1 Accuracy'),
    'top5': ('Image Classification', 'ImageNet-1k', 'published Top 5 Accuracy'),
    'top1_22k': ('Image Classification', 'ImageNet-1k', 'published Top 1 Accuracy after ImageNet-22k'),
    'top5_22k': ('Image Classification', 'ImageNet-1k', 'published Top 5 Accuracy after ImageNet-22k'),
    'real': ('Image Classification', 'ImageNet-ReaL', 'published ReaL Accuracy'),
    'real_22k': ('Image Classification', 'ImageNet-ReaL', 'published ReaL Accuracy after ImageNet-22k'),
    'box': ('Object Detection', 'COCO', 'published box AP'),
    'mask': ('Instance Segmentation', 'COCO', 'published mask AP'),
    'ade20k': ('Semantic Segmentation', 'ADE20K', 'published mIoU'),
    'ade20k_ms': ('Semantic Segmentation', 'ADE20K', 'published mIoU (multi-scale and flip)'),
    'cityscapes': ('Semantic Segmentation', 'Cityscapes', 'published mIoU'),
    'cityscapes_ms': ('Semantic Segmentation', 'Cityscapes', 'published mIoU (multi-scale and flip)'),
}
# Task in the name of a config -> its data.
DATA = dict(imagenet='ImageNet-1k', mask_rcnn='COCO', cascade_mask_rcnn='COCO', retinanet='COCO', mask2former='COCO',
            dino='COCO', vitdet='COCO', upernet='ADE20K', semantic_fpn='ADE20K')
SEGMENTATION_DATA = dict(cityscapes='Cityscapes', ade20k='ADE20K')  # data set, by a word in the config's name
TABLES = '<!-- tables: written by tools/dev/make_metafiles.py -->\n'
TABLE = '<!-- networks: written by tools/dev/make_metafiles.py -->\n', '<!-- end of networks -->\n'
BACKBONES = '<!-- backbones: written by tools/dev/make_metafiles.py -->\n', '<!-- end of backbones -->\n'
CLASSIFIERS = """\
Parameters are counted, top-1 is published. GMACs: multiply-adds at the published image size, counted by `mmvit
flops`/published; for ViTAE, VSA and Refiner-ViT, the second number was counted in the authors' code, where ResT has
{counted}. With generated weights, outputs in float64 differ from those of the authors' code by at most 1e-8 of their
standard deviation (`tests/test_goldens.py`).
"""
RELATED = '<!-- related: written by tools/dev/make_metafiles.py -->\n', '<!-- end of related -->\n'
RECIPES = '<!-- recipes: written by tools/dev/make_metafiles.py -->\n', '<!-- end of recipes -->\n'
RECIPE_DATA = dict(flowers='240 flowers', digits='200 digits', camvid='55 streets', coco='19 images of large objects',
                   objects='200 images of made objects', poles='55 streets, poles against the rest')
RULES = '<!-- rules: written by tools/dev/make_metafiles.py -->\n', '<!-- end of rules -->\n'
RULE_TABLES = {'COCO': COCO_RULES, '`--class-folder`': CLASS_RULES, '`--seg-folder`': SEG_RULES,
               'Images and masks': RASTER_RULES}
OPTION_KEYS = '<!-- options: written by tools/dev/make_metafiles.py -->\n', '<!-- end of options -->\n'
NAMING = '<!-- names: written by tools/dev/make_metafiles.py -->\n', '<!-- end of names -->\n'
PAGES = '      # pages: written by tools/dev/make_metafiles.py\n', '      # end of pages\n'
RESULT_COLUMNS = (
    ('box/mask AP', ('box', 'mask'), '_3x', '3x schedule', ('box', 'mask')),
    ('ADE20K mIoU: single-scale/multi-scale and flip', ('ade20k', 'ade20k_ms')),
    ('Cityscapes mIoU: single-scale/multi-scale and flip', ('cityscapes', 'cityscapes_ms'), '_80k', '80k iterations',
     ('cityscapes', 'cityscapes_ms')),
)
IMPORTS = '''\
"""Backbones, one file per network; importing this package registers them in MMEngine's root ``MODELS``."""
# Written by tools/dev/make_metafiles.py from zoo/variants.yml.
{imports}

__all__ = [
{names}
]
'''
FIRST_PAGE = """\
# {name}

{keywords}. In [your mmdetection config](own_project.md):

```python
_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
custom_imports = dict(imports=['mmvit_backbones'])
model = dict(
    backbone=dict(_delete_=True, type='{backbone}', arch='{arch}', drop_path_rate=0.2),
    neck=dict(in_channels={channels}))
```

In Python: `mmvit_backbones.get_model('{variant}', task='backbone')` ([weights](zoo.md)). On [your data](own_data.md):
`mmvit train {variant} --coco-folder FOLDER`.

## Variants

[Sizes, accuracies and weights](zoo.md#classifiers), from the [authors]({code}).

| name | maps: channels |
|---|---|
{rows}
## How it works

{authors}: {title} ([paper]({paper}), [formulas and code](papers.md#{anchor})).
"""
NOTICE = "They are under their authors' terms.\n\n", '\nWhat they are built on,'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='write nothing; fail if a file differs')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if ROOT not in Path(mmvit_backbones.__file__).resolve().parents:
        sys.exit(f'error: the package in {ROOT} must be installed (make setup), got {mmvit_backbones.__file__}')
    files = make_files()
    superfluous = set(ROOT.glob('configs/metafiles/*')) - files.keys()
    different = {path for path, text in files.items() if not path.exists() or path.read_text(encoding='utf-8') != text}
    if not args.check:
        for path in superfluous:
            path.unlink()
        for path in different:
            path.parent.mkdir(exist_ok=True)
            path.write_text(files[path], encoding='utf-8')
    elif superfluous or different:
        names = ', '.join(sorted(str(path.relative_to(ROOT)) for path in superfluous | different))
        sys.exit(f'error: files are out of date: {names}; run python tools/dev/make_metafiles.py')


def make_files() -> dict[Path, str]:
    """Returns the contents of all files by path."""
    models = {family: [] for family in families()}
    for path in sorted(ROOT.glob('configs/*.py'), key=place):
        task, variant, _ = parse_config_name(path.stem)
        models[variant.family.name].append(model(path.stem, task, variant))
    metafiles = {ROOT / 'configs/metafiles' / f'{name.lower().replace("-", "_")}.yml':
                 dict(Collections=[collection(family)], Models=models[name]) for name, family in families().items()}
    index = dict(Import=[str(path.relative_to(ROOT)) for path in metafiles])
    files = {path: NOTE + yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)
             for path, content in {**metafiles, ROOT / 'model-index.yml': index}.items()}
    page = ROOT / 'docs/zoo.md'
    text = between(page.read_text(encoding='utf-8'), *RELATED, related())
    files[page] = text.split(TABLES)[0] + TABLES + tables()
    files[ROOT / 'mmvit_backbones/backbones/__init__.py'] = imports()
    files[ROOT / 'docs/papers.md'] = script('make_papers.py')['render']()
    files[ROOT / 'docs/differences.md'] = script('make_differences.py')['render'](list(map(network, modules())))
    new = [(ROOT / family.docs, variants) for _, family, variants in members() if not (ROOT / family.docs).exists()]
    files |= {page: first_page(variants) for page, variants in new}
    for name, marks, new in (('README.md', TABLE, networks()), ('docs/api/backbones.md', BACKBONES, backbones()),
                             ('mkdocs.yml', PAGES, pages()), ('docs/own_data.md', RULES, rules()),
                             ('docs/own_data.md', OPTION_KEYS, options()), ('docs/tools.md', NAMING, naming()),
                             ('docs/own_data.md', RECIPES, recipes()),
                             ('NOTICE', NOTICE, sources())):
        text = files.get(ROOT / name) or (ROOT / name).read_text(encoding='utf-8')
        files[ROOT / name] = between(text, *marks, new)
    return files


def script(name: str) -> dict[str, Any]:
    """Returns the functions of a script beside this one."""
    return runpy.run_path(str(Path(__file__).with_name(name)))


def between(text: str, start: str, end: str, new: str) -> str:
    before, rest = text.split(start)
    return before + start + new + end + rest.split(end)[1]


def families() -> dict[str, Family]:
    return {variant.family.name: variant.family for variant in VARIANTS.values()}


def parse_config_name(name: str) -> tuple[str, Variant, list[str]]:
    """Splits the name of a config, ``TASK_VARIANT[_DIFFERENCES]`` without ``.py``, into its parts.

    Raises:
        UsageError: If the name does not begin with a task and a variant.
    """
    for task in DATA:
        for variant in sorted(VARIANTS.values(), key=lambda variant: -len(variant.short_name)):
            if f'{name}_'.startswith(f'{task}_{variant.short_name}_'):
                return task, variant, name.removeprefix(f'{task}_{variant.short_name}').split('_')[1:]
    raise UsageError(f'the name of a config must be TASK_VARIANT[_DIFFERENCES] with a task in {tuple(DATA)} and a '
                     f'variant such as {VARIANTS["reswin_tiny"].short_name!r}, got {name!r}')


def place(config: Path) -> tuple:
    """Returns the sort key of a config: by task, then in the order of the zoo."""
    task, variant, differences = parse_config_name(config.stem)
    return list(DATA).index(task), list(VARIANTS).index(variant.name), differences


def collection(family: Family) -> dict:
    return {
        'Name': family.name,
        'Metadata': {'Architecture': list(family.architecture), 'Weight': f'see {family.code}/'},
        'Paper': {'Title': family.title, 'URL': family.paper},
        'README': family.docs,
        'Code': {'URL': family.code, 'License': family.license},
    }


def model(name: str, task: str, variant: Variant) -> dict:
    is_classifier = name == f'imagenet_{variant.short_name}'
    data = next((title for word, title in SEGMENTATION_DATA.items() if word in name), DATA[task])
    metadata = {'Variant': variant.name, 'Training Data': data}
    if is_classifier:
        metadata.update({'Parameters': variant.num_params, 'FLOPs': round(variant.gmacs * 1e9)})
    entry = {'Name': name, 'In Collection': variant.family.name, 'Config': f'configs/{name}.py', 'Metadata': metadata}
    if published := figures(name):
        metadata['Source of Results'] = source(name, variant)
        entry['Results'] = results(published)
    weights = {variant.config_name(tag): weights for tag, weights in variant.weights.items()}.get(name)
    if weights and is_classifier and host_of(weights.urls[0]) == 'GitHub':
        entry['Weights'] = weights.urls[0]
    elif weights:
        metadata['Authors Checkpoint'] = place_of_checkpoint(weights, variant)
    return entry


def place_of_checkpoint(weights: PublishedFile, variant: Variant) -> dict:
    place = {'URL': ' or '.join(weights.urls), 'Linked From': variant.family.code,
             'Access Code': weights.access_code, 'Remark': weights.remark}
    return {key: value for key, value in place.items() if value}


def figures(name: str) -> dict[str, float]:
    """Returns the published results of a config, by the keys of ``METRICS``."""
    found = RESULTS.get(name, {})
    return {key: found[key] for key in METRICS if key in found}


def source(name: str, variant: Variant) -> str:
    stated = ', '.join(sources_of(name)) or variant.family.code
    return f'{stated}: {variant.family.remark}' if variant.family.remark else stated


def sources_of(config: str) -> list[str]:
    """Returns the sources of a config's published results: URLs of repositories, or descriptions."""
    sources = [line['source'] for line in PUBLISHED if line['config'] == config]
    return list(dict.fromkeys(re.sub(r'^([\w-]+/[\w-]+)/.*', r'https://github.com/\1', source) for source in sources))


def results(published: dict[str, float]) -> list[dict]:
    """Groups the metrics by task and data set."""
    groups = groupby(published.items(), key=lambda item: METRICS[item[0]][:2])
    return [{'Task': task, 'Dataset': data, 'Metrics': {METRICS[key][2]: value for key, value in metrics}}
            for (task, data), metrics in groups]


def tables() -> str:
    return '\n'.join([
        '## Classifiers\n',
        CLASSIFIERS.format(counted=counted()),
        table(['name', 'million parameters', 'GMACs', 'top-1, %', "authors' weights, with another top-1"],
              variant_rows()),
        '## Other published results\n',
        'All other accuracies on ImageNet are in `mmvit_backbones/zoo/published.csv`.\n',
        *(result_table(*columns) for columns in RESULT_COLUMNS),
    ])


def table(head: list[str], rows: list[list[str]]) -> str:
    return markdown_table(head, rows) + '\n'


def networks() -> str:
    """Returns the README's table, with one row per family."""
    rows = [[f'[{name}]({family.docs})', *sizes_and_top1(variants)]
            for name, family, variants in members()]
    return f'{len(VARIANTS)} networks:\n\n' + table(['family', 'million parameters', 'top-1, %'], rows)


def related() -> str:
    """Returns the tables of related networks: what loads into which network, and the names of weights."""
    layouts, names = {}, {}
    for layout in LIBRARY_LAYOUTS:
        network, _, library = layout.network.partition(' of ')
        for backbone in layout.backbones:
            layouts.setdefault((backbone, network), []).append(library)
    for variant in VARIANTS.values():
        if variant.related_weights:
            names.setdefault(variant.related_weights, []).append(f'`{variant.name}`')
    rows = [[backbone, network, ', '.join(sorted(libraries, key=str.lower)), fresh(backbone)]
            for (backbone, network), libraries in sorted(layouts.items())]
    terms = [[', '.join(variants), f'`{name}`', *statistics(name)] for name, variants in names.items()]
    head = ['network', 'related network', 'layouts that load', "what starts as in the authors' code"]
    return table(head, rows) + '\n' + table(['network', 'name', 'license', 'mean and standard deviation'], terms)


def fresh(backbone: str) -> str:
    """Returns the modules of a network that its related network lacks."""
    with torch.device('meta'):
        model = network(backbone)()
    lacking = [name.rpartition('.')[0] for name, _ in model.named_parameters()
               if any(re.fullmatch(pattern, name) for pattern in model.optional)]
    return ', '.join(sorted({f'`{re.sub(".*(?=position|attn)", "", name)}`' for name in lacking})) or 'nothing'


def statistics(name: str) -> list[str]:
    """Returns the license of weights, and the mean and standard deviation of their images."""
    images = images_of(name)
    if images is None:
        sys.exit(f'error: variants.yml: related_weights must begin with timm://, got {name}')
    is_imagenet = images.mean == IMAGENET_MEAN and images.std == IMAGENET_STD
    numbers = dict.fromkeys(f'{x:g}' for x in images.mean + images.std)
    return [timm_config(name)['license'], "ImageNet's" if is_imagenet else ', '.join(numbers)]


def counted() -> str:
    return ', '.join(f'{variant.counted_gmacs}' for variant in VARIANTS.values()
                     if variant.counted_gmacs and variant.published_gmacs)


def rules() -> str:
    """Returns the rules for data, by how severe they are."""
    parts = []
    for data, group in RULE_TABLES.items():
        names = {}
        for rule in group:
            names.setdefault(severity(rule), []).append(rule.name)
        parts += [f'\n{data}:\n\n', *(f'- {degree}: {"; ".join(found)}\n' for degree, found in names.items())]
    return ''.join(parts)


def options() -> str:
    """Returns the options of `mmvit train` for a network and a folder, and the keys of configs that set the same."""
    keys: dict[str, list[str]] = {}
    for name in OPTIONS:
        keys.setdefault(setting_of(name), []).append(f'`--{name.replace("_", "-")}`')
    return ''.join(['\n| option | in a config |\n| --- | --- |\n',
                    *(f'| {", ".join(names)} | {key} |\n' for key, names in keys.items()), '\n'])


def naming() -> str:
    """Returns what each command takes."""
    return ''.join(['\n| command | takes |\n| --- | --- |\n',
                    *(f'| {f"`mmvit {name}`" if name != "config" else "`--config`"} | {list_kinds(name)} |\n'
                      for name in TAKES), '\n'])


def recipes() -> str:
    """Returns the results of recipes by tools/dev/measure_recipes.py: from the lowest to the highest network."""
    floors: dict[str, dict[str, list[dict]]] = {}  # data -> weights -> cells
    found: dict[tuple, dict[str, list[dict]]] = {}  # data, is_frozen, steps -> weights -> cells of the recipe
    with (ROOT / 'docs/recipes.csv').open(encoding='utf-8', newline='') as file:
        for line in csv.DictReader(file):
            data, weights, row = line['data'], line['weights'], line['row']
            if line['steps'] == '0':
                floors.setdefault(data, {}).setdefault(weights, []).append(line)
            elif row == 'recipe':
                group = data, line['is_frozen'] == 'True', int(line['steps'])
                found.setdefault(group, {}).setdefault(weights, []).append(line)
    shown = []
    for (data, is_frozen, steps), networks in sorted(found.items()):
        own = [cells for weights, cells in floors.get(data, {}).items() if weights in networks]
        shown.append([RECIPE_DATA[data] + ', frozen' * is_frozen, f'{steps}', interval('metric', own),
                      interval('metric', networks.values()), interval('seconds', networks.values()),
                      f'{len(networks)}'])
    return f'\n{table(["data", "steps", "floor", "recipe", "CPU seconds", "networks"], shown)}\n'


def interval(column: str, networks: Iterable[list[dict]]) -> str:
    """Returns the lowest and the highest network's mean of folds."""
    means = [mean(float(line[column]) for line in lines) for lines in networks]
    if not means:
        return '–'
    ends = (f'{value:,.{0 if value >= 100 else 1}f}' for value in (min(means), max(means)))
    return ' to '.join(dict.fromkeys(ends))


def severity(rule: Rule) -> str:
    """Returns how severe a rule is, and whether what it finds is repaired in a folder."""
    limit = {None: '', HALF: ', error from half', 1.0: ', error if all'}[rule.error_from]
    levels = [(level + limit * (level == 'warning'), stage)
              for level, stage in ((rule.training, 'training'), (rule.evaluation, 'evaluation')) if level]
    if rule.training == rule.evaluation:
        texts = [level for level, _ in levels[:1]]
    else:
        texts = [f'{level} in {stage}' for level, stage in levels]
    return '; '.join(texts + ['repaired in a folder'] * bool(rule.repair))


def members() -> list[tuple[str, Family, list[Variant]]]:
    return [(name, family, [variant for variant in VARIANTS.values() if variant.family is family])
            for name, family in families().items()]


def sizes_and_top1(variants: list[Variant]) -> list[str]:
    return [span([round(variant.num_params / 1e6) for variant in variants]),
            span([round(variant.top1, 1) for variant in variants if variant.top1 is not None])]


def grouped(*attributes: str) -> dict[tuple, str]:
    """Groups the names of families by attributes."""
    names = {}
    for name, family in families().items():
        names.setdefault(tuple(getattr(family, attribute) for attribute in attributes), []).append(name)
    return {key: ', '.join(members) for key, members in names.items()}


def pages() -> str:
    """Returns the entries of the networks in the list of pages in mkdocs.yml."""
    return ''.join(f'      - {names}: {Path(page).name}\n' for (page, ), names in grouped('docs').items())


def backbones() -> str:
    """Returns the directives by which mkdocstrings documents the backbones and their settings."""
    networks = [network(name) for name in modules()]
    pairs = [(network, type(next(iter(network.arch_zoo.values())))) for network in networks]
    options = '    options: {members: false}\n\n'
    return '\n' + ''.join(f'::: {documented.__module__}.{documented.__name__}\n{options}'
                          for documented in dict.fromkeys(chain.from_iterable(pairs)))


@cache
def modules() -> dict[str, str]:
    """Returns the module in ``backbones/`` that defines each network, by name of its class, in the order of the zoo."""
    texts = {path.stem: path.read_text(encoding='utf-8')
             for path in sorted((ROOT / 'mmvit_backbones/backbones').glob('*.py'))}
    found = {}
    for name, family in families().items():
        defining = [module for module, text in texts.items() if f'\nclass {family.backbone}(' in text]
        if not defining:
            sys.exit(f'error: variants.yml: {name}: no file in mmvit_backbones/backbones defines {family.backbone}')
        found[family.backbone] = defining[0]
    return found


def figure_of(variant: Variant, tag: str) -> str:
    """Returns the top-1 of weights of another recipe than the network's, after a space, or ''."""
    results = RESULTS.get(variant.config_name(tag), {}) if tag != str(variant.img_size) else {}
    top1 = results.get('top1', results.get('top1_22k')) if task_of(tag) == 'imagenet' else None
    return '' if top1 is None else f' {top1} %'


def network(name: str) -> type[Backbone]:
    return getattr(import_module(f'mmvit_backbones.backbones.{modules()[name]}'), name)


def imports() -> str:
    """Returns the text of ``backbones/__init__.py``."""
    lines = ['from .base import Backbone', *(f'from .{module} import {name}' for name, module in modules().items())]
    names = textwrap.fill(', '.join(f"'{name}'" for name in sorted(['Backbone', *modules()])), width=118,
                          initial_indent='    ', subsequent_indent='    ')
    return IMPORTS.format(imports='\n'.join(sorted(lines)), names=names)


def first_page(variants: list[Variant]) -> str:
    """Returns a page for a family that has none: its use, variants, and paper."""
    first = variants[0]
    family = first.family
    with torch.device('meta'):
        channels = {variant.name: network(family.backbone)(variant.arch).channels for variant in variants}
    rows = ''.join(f'| `{name}` | {" ".join(map(str, numbers))} |\n' for name, numbers in channels.items())
    return FIRST_PAGE.format(
        **{**vars(family), 'rows': rows}, variant=first.name,
        arch=first.arch, channels=list(channels[first.name]), keywords=', '.join(family.architecture).capitalize(),
        anchor=family.name.lower())


def sources() -> str:
    """Returns the entries of the networks in NOTICE: paper, code and the license of the code."""
    fill = partial(textwrap.fill, width=118, initial_indent='    ', subsequent_indent='    ', break_on_hyphens=False)
    families = grouped('authors', 'title', 'paper', 'code', 'license').items()
    return '\n'.join('\n'.join([f'  {names}', fill(f'{authors}: {title}, {paper}'), fill(f'{code}: {license}'), ''])
                     for (authors, title, paper, code, license), names in families)


def span(numbers: list[float]) -> str:
    """Returns the range of numbers as text, or a dash without numbers."""
    return ' to '.join(str(number) for number in sorted({min(numbers), max(numbers)})) if numbers else '–'


def variant_rows() -> list[list[str]]:
    return [[f'`{variant.name}`', f'{variant.num_params / 1e6:.1f}', multiply_adds(variant), str(variant.top1 or '–'),
             links(variant)] for variant in VARIANTS.values()]


def multiply_adds(variant: Variant) -> str:
    return '/'.join(f'{gmacs:.2f}' for gmacs in (variant.gmacs, variant.published_gmacs) if gmacs is not None)


def links(variant: Variant) -> str:
    """Returns links to a variant's checkpoints, named by tag; further URLs of a checkpoint are named by host."""
    return ', '.join(' or '.join([f'[{tag}]({weights.urls[0]})',
                                  *(f'[{host_of(url)}]({url})' for url in weights.urls[1:])]) + figure_of(variant, tag)
                     for tag, weights in variant.weights.items()) or '–'


def result_table(title: str, keys: tuple[str, ...], ending: str = '', longer: str = '',
                 keys_of_longer: tuple[str, ...] = ()) -> str:
    """Returns a table of results by config; a second column has the results of the configs with ``ending``."""
    rows = []
    names = [path.stem for path in sorted(ROOT.glob('configs/*.py'), key=place)]
    for name in dict.fromkeys(name.removesuffix(ending) for name in names):
        cells = [stated(name, keys), stated(name + ending, keys_of_longer)] if ending else [stated(name, keys)]
        if any(cells):
            rows.append([f'`{name}`', *(cell or '–' for cell in cells)])
    return table(['config', title, f'`…{ending}` ({longer})'] if ending else ['config', title], rows)


def stated(config: str, keys: tuple[str, ...]) -> str:
    """Returns the published results of a config as text, or '' if the table of classifiers contains all of them."""
    published = figures(config)
    among_classifiers = {'top1'} if config == f'imagenet_{parse_config_name(config)[1].short_name}' else set()
    if not published.keys() & set(keys) - among_classifiers:
        return ''
    last = max(i for i, key in enumerate(keys) if key in published)
    return '/'.join(str(published.get(key, '–')) for key in keys[:last + 1])


if __name__ == '__main__':
    main()
