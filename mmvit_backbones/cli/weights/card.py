"""Writes the model card of converted weights."""
import yaml

from ...version import __version__
from ...zoo.download import CONVERTED
from ...zoo.loading import IMAGENET_CLASSES
from ...zoo.published import FIGURES, METRICS
from ...zoo.variants import Variant
from .list import config_names

HUB_LICENSES = {'MIT': 'mit', 'Apache-2.0': 'apache-2.0'}
OTHER_FIGURES = dict(params_m='published parameters, millions', flops_g='published multiply-adds, 1e9')

TEMPLATE = """\
---
{header}---
# {title}

An image classifier from [{paper_title}]({paper}) ({authors}). Architecture: {architecture}.

The authors' weights from {origin} were converted with `mmvit weights convert` of mmvit_backbones {version}.
The SHA-256 of `{file}` is `{sha256}`.

| | |
|---|---|
| network | `{network}` |
| size, counted with 1000 classes | {num_params:,} parameters; {gmacs:g} GMACs at {img_size} x {img_size} |
| images | {side} x {side} pixels; `preprocessor_config.json` contains the preprocessing |
| classes | {num_classes} |
| authors' code | {code} |
| license, as stated by the authors | {license} |

## Use

```python
import mmvit_backbones.integrations.huggingface
from transformers import AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained('{folder}')
```

`mmvit_backbones.get_model('{network}', checkpoint='{folder}/{file}', num_classes={num_classes})` builds an
mmpretrain classifier. With `task='backbone'` instead of `num_classes`, `get_model` builds only the
backbone. In a config of mmpretrain, mmdetection or mmsegmentation, set
`init_cfg=dict(type='Pretrained', checkpoint='{folder}/{file}')` in the backbone.

## Published results

{figures}
"""


def model_card(variant: Variant, tag: str, origin: str, folder: str, sha256: str, num_classes: int) -> str:
    """Returns a model card in Markdown, with the metadata header of the Hugging Face Hub.

    Args:
        variant (Variant): The network.
        tag (str): Tag of the weights: the image side in pixels, or ``'22k'``.
        origin (str): Name or address of the authors' file.
        folder (str): Name of the folder with the weights.
        sha256 (str): Hash of the weights.
        num_classes (int): Number of classes of the weights.
    """
    family = variant.family
    header = dict(library_name='transformers', pipeline_tag='image-classification', tags=['mmvit_backbones', 'vision'],
                  license=HUB_LICENSES.get(family.license, 'other'))
    if header['license'] == 'other':
        header.update(license_name='see-the-authors-repository', license_link=family.code)
    side = tag if tag.isdigit() else variant.img_size
    return TEMPLATE.format(
        header=yaml.safe_dump(header, sort_keys=False), title=folder, architecture=', '.join(family.architecture),
        paper_title=family.title, paper=family.paper, authors=family.authors, version=__version__, origin=origin,
        file=CONVERTED, sha256=sha256, network=variant.name, num_params=variant.num_params, gmacs=variant.gmacs,
        img_size=variant.img_size, side=side, num_classes=num_classes, code=family.code, license=family.license,
        folder=folder, figures=figures_of(variant, tag, num_classes))


def figures_of(variant: Variant, tag: str, num_classes: int) -> str:
    """Returns a Markdown table of the weights' published results and their sources, or a sentence if there are none."""
    names = {key: name for key, (_, _, name) in METRICS.items()} | OTHER_FIGURES
    lines = [line for line in FIGURES if line['config'] in config_names(variant, tag) and line['key'] in names
             and line['key'].endswith('22k') == (tag == '22k')]
    if not lines or num_classes != IMAGENET_CLASSES:
        return 'No published results are known for these weights.'
    rows = [f'| {names[line["key"]]} | {line["value"]} | {line["setting"]} | '
            f'{"; ".join(filter(None, [line["source"], line["note"]]))} |' for line in lines]
    return '\n'.join(['The authors published these results. They were not measured with this file.', '',
                      '| result | value | setting | source |', '|---|---|---|---|', *rows])
