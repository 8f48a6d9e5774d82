"""Converts the authors' weights to a folder for a hub or a mirror, or to a file for OpenMMLab's configs."""
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..errors import CheckpointError, UsageError
from ..utils.file_access import check_outputs, replaced_when_complete
from ..zoo.building import has_img_size
from ..zoo.checkpoints import read_checkpoint, read_published
from ..zoo.download import CONVERTED, cached_file, write_hash
from ..zoo.loading import IMAGENET_CLASSES, LAYOUTS, TASKS, load_weights, recognize
from ..zoo.reading import find_checkpoint
from ..zoo.state_dicts import strip_prefix
from ..zoo.variants import VARIANTS, Variant, find_networks, find_variant

FILES = '.pth', '.safetensors'


class Converted(NamedTuple):
    """Converted weights with the keys of mmpretrain, mmdet or mmseg, and their origin."""

    weights: dict[str, Tensor]
    variant: Variant | None  # None unless exactly one network matches the weights
    tag: str
    origin: str


def convert_weights(source: str, out: str | Path, network: str | None = None, tag: str | None = None,
                    task: Literal['classification', 'backbone'] = 'classification') -> str:
    """Converts the authors' weights of a network, and returns a description of what was written.

    Args:
        source (str): A network's published weights, ``NAME`` or ``NAME/TAG``, which are downloaded if necessary; or a
            path or URL of the authors' file.
        out (str | Path): File that ends with ``.pth`` or ``.safetensors``, with mmpretrain's keys for a classifier, and
            mmdet's or mmseg's for a detector or segmenter; or a new folder with a classifier's weights, their SHA-256,
            and the config and image processor of Transformers.
        network (str | None): Network of a file. Defaults to None: recognized by the names and shapes of the weights.
        tag (str | None): For a file that is converted to a folder, the side of the training images in pixels, or
            ``22k``. Defaults to None: the network's image size.
        task (str): For an output file, ``'backbone'`` omits the classifier and the prefix of the backbone's weights.
            Defaults to ``'classification'``.

    Raises:
        UsageError: If an argument is invalid, or Transformers, which folders need, is not installed.
        CheckpointError: If the weights are unavailable, or are not those of a network.
    """
    out = Path(out)
    check_outputs('out', [out], [file_of(source)])
    if out.suffix in FILES:
        return write_file(read_source(source, network, tag).weights, task, out)
    check_folder(out, task)
    converted = read_source(source, network, tag)
    if converted.variant is None:
        matching = ', '.join(find_networks(converted.weights)) or 'no network'
        raise UsageError(f'--network is required for {source}, because its weights match {matching}')
    return write_folder(converted.weights, converted.variant, converted.tag, source, out)


def check_folder(folder: Path, task: str) -> None:
    if task != TASKS[0]:
        raise UsageError(f"--task {task} requires --out to be a {' or '.join(FILES)} file, not a folder")
    if folder.is_file() or folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f'--out {folder} must be a new or empty folder, or a file that ends with '
                         f'{" or ".join(FILES)}')
    if not find_spec('transformers'):
        raise UsageError('--out FOLDER needs Transformers: pip install transformers; or use --out FILE.safetensors')


def is_published(source: str) -> bool:
    return source.partition('/')[0] in VARIANTS and not Path(source).exists()


def file_of(source: str) -> str | Path:
    """Returns the file that is read, for published weights that of the cache."""
    if not is_published(source):
        return find_checkpoint(source)
    name, _, tag = source.partition('/')
    return cached_file(VARIANTS[name].published_weights(tag or True))


def read_source(source: str, network: str | None = None, tag: str | None = None) -> Converted:
    """Reads and converts published weights or a file; the arguments are those of :func:`convert_weights`."""
    name, _, published_tag = source.partition('/')
    if is_published(source):
        if network or tag:
            raise UsageError('--network and --tag require a file; use NAME/TAG to select published weights')
        published = VARIANTS[name].published_weights(published_tag or True)
        return Converted(read_published(VARIANTS[name], published.tag), VARIANTS[name], published.tag,
                         published.urls[0])
    layouts = [find_variant(network).family.layout] if network else LAYOUTS
    weights, layout = recognize(read_checkpoint(source), layouts, source)
    if layout is None:
        expected = ' or '.join(repr(layout.keys[-1]) for layout in layouts)
        raise UsageError(f'{source} is not a published checkpoint of {network or "any network"}: expected {expected}, '
                         f'got {", ".join(list(weights)[:2])}, ...')
    weights = layout.convert(weights, source)
    networks = [network] if network else find_networks(weights, layout)
    variant = find_variant(networks[0]) if len(networks) == 1 else None
    if variant and tag and not tag.isdigit() and tag not in variant.weights:
        raise UsageError(f'--tag must be an image side in pixels or one of {", ".join(variant.weights)}, got {tag}')
    return Converted(weights, variant, tag or (str(variant.img_size) if variant else ''), source)


def write_file(weights: dict[str, Tensor], task: str, path: Path) -> str:
    if task == 'backbone':
        weights = strip_prefix(weights, 'backbone.')
    content = io.BytesIO()
    if path.suffix == '.safetensors':
        from safetensors.torch import save
        content.write(save({key: value.contiguous() for key, value in weights.items()}))
    else:
        torch.save(dict(state_dict=weights, meta={}), content)
    with replaced_when_complete(path) as part:
        part.write_bytes(content.getbuffer())
    return f'{path}: {len(weights)} tensors, {sum(weight.numel() for weight in weights.values()):,} elements'


def write_folder(weights: dict[str, Tensor], variant: Variant, tag: str, origin: str, folder: Path) -> str:
    """Writes the weights, hash, config and image processor of a classifier."""
    from .huggingface import MMViTConfig, MMViTForImageClassification
    if 'head.fc.weight' not in weights:
        raise CheckpointError(f'{origin} has no classifier; use --out FILE.safetensors to convert its weights')
    side, num_classes = int(tag) if tag.isdigit() else variant.img_size, len(weights['head.fc.weight'])
    backbone = dict(variant.backbone, img_size=side) if has_img_size(variant) else variant.backbone
    config = MMViTConfig(backbone, network=variant.name, image_size=side, **class_names(num_classes))
    model = MMViTForImageClassification(config)
    load_weights(model.model, weights, origin, strict=True)
    model.save_pretrained(folder, max_shard_size='100GB')
    file = folder / CONVERTED
    file.chmod((folder / 'config.json').stat().st_mode)  # safetensors makes files private; web servers must read them
    write_hash(file)
    text = f'{folder}: {", ".join(sorted(path.name for path in folder.iterdir()))}'
    published = variant.weights.get(tag)
    if published and folder.resolve().name != published.name:
        text += f'\nto use the folder in a mirror, rename it to {published.name}'
    return text


def class_names(num_classes: int) -> dict:
    """Returns arguments of MMViTConfig: ImageNet's class names if mmpretrain is installed, or only their number."""
    if num_classes != IMAGENET_CLASSES or not find_spec('mmpretrain'):
        return dict(num_labels=num_classes)
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
    return dict(id2label=dict(enumerate(IMAGENET_CATEGORIES)),
                label2id={name: number for number, name in enumerate(IMAGENET_CATEGORIES)})
