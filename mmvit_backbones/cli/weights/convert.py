"""Converts the authors' weights to a folder for a hub or a mirror, or to a single file."""
import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import CheckpointError, UsageError
from ...zoo.build import has_img_size
from ...zoo.converters.layout import convert
from ...zoo.download import CONVERTED, write_hash
from ...zoo.loading import (
    IMAGENET_CLASSES,
    LAYOUTS,
    TASKS,
    find_networks,
    load_weights,
    read_checkpoint,
    read_published,
    recognize,
)
from ...zoo.unwrap import strip_prefix
from ...zoo.variants import VARIANTS, Variant, find_variant

FILES = '.pth', '.safetensors'


class Source(NamedTuple):
    """Converted weights with the keys of mmpretrain, mmdet or mmseg, and their origin."""
    weights: dict[str, Tensor]
    variant: Variant | None  # None unless exactly one network matches the weights
    tag: str
    origin: str


def main(args: argparse.Namespace) -> None:
    to_file = args.out.endswith(FILES)
    if not to_file:
        check_folder(args)
    source = read_source(args)
    if to_file:
        write_file(source.weights, args.task, Path(args.out))
    else:
        write_folder(source, Path(args.out))


def check_folder(args: argparse.Namespace) -> None:
    if args.task != TASKS[0]:
        raise UsageError(f"--task {args.task} requires --out to be a {' or '.join(FILES)} file, not a folder")
    folder = Path(args.out)
    if folder.is_file() or folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f'--out {folder} must be a new or empty folder, or a file that ends with '
                         f'{" or ".join(FILES)}')
    if not find_spec('transformers'):
        raise UsageError('--out FOLDER needs Transformers: pip install transformers; or use --out FILE.safetensors')


def read_source(args: argparse.Namespace) -> Source:
    name, _, tag = args.source.partition('/')
    if name in VARIANTS and not Path(args.source).exists():
        if args.network or args.tag:
            raise UsageError('--network and --tag require a file; use NAME/TAG to select published weights')
        published = VARIANTS[name].find_weights(tag or True)
        return Source(read_published(VARIANTS[name], published.tag), VARIANTS[name], published.tag,
                      published.urls[0])
    layouts = [find_variant(args.network).family.layout] if args.network else LAYOUTS
    weights, layout = recognize(read_checkpoint(args.source), layouts, args.source)
    if layout is None:
        expected = ' or '.join(repr(layout.keys[-1]) for layout in layouts)
        raise UsageError(f'{args.source} is not a published checkpoint of {args.network or "any network"}: expected '
                         f'{expected}, got {", ".join(list(weights)[:2])}, ...')
    weights = convert(weights, layout, args.source)
    networks = [args.network] if args.network else find_networks(weights)
    if not args.out.endswith(FILES) and len(networks) != 1:
        raise UsageError(f'--network is required for {args.source}, because its weights match '
                         f'{", ".join(networks) or "no network"}')
    variant = find_variant(networks[0]) if len(networks) == 1 else None
    tag = args.tag or (str(variant.img_size) if variant else '')
    if variant and args.tag and not tag.isdigit() and tag not in variant.weights:
        raise UsageError(f'--tag must be an image side in pixels or one of {", ".join(variant.weights)}, got {tag}')
    return Source(weights, variant, tag, args.source)


def write_file(weights: dict[str, Tensor], task: str, path: Path) -> None:
    if task == 'backbone':
        weights = strip_prefix(weights, 'backbone.')
    if path.suffix == '.safetensors':
        from safetensors.torch import save_file
        save_file({key: value.contiguous() for key, value in weights.items()}, path)
    else:
        torch.save(dict(state_dict=weights, meta={}), path)
    print(f'{path}: {len(weights)} tensors, {sum(weight.numel() for weight in weights.values()):,} elements')


def write_folder(source: Source, folder: Path) -> None:
    """Writes the weights, hash, config and image processor of a classifier."""
    from ...integrations.huggingface import MMViTConfig, MMViTForImageClassification
    weights, variant, tag, origin = source
    if variant is None:
        raise UsageError(f'--network is required, because several networks match the weights of {origin}')
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
    name, published = folder.resolve().name, variant.weights.get(tag)
    print(f'{folder}: {", ".join(sorted(path.name for path in folder.iterdir()))}')
    if published and name != published.name:
        print(f'to use the folder in a mirror, rename it to {published.name}')


def class_names(num_classes: int) -> dict:
    """Returns arguments of MMViTConfig: ImageNet's class names if mmpretrain is installed, or only their number."""
    if num_classes != IMAGENET_CLASSES or not find_spec('mmpretrain'):
        return dict(num_labels=num_classes)
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
    return dict(id2label=dict(enumerate(IMAGENET_CATEGORIES)),
                label2id={name: number for number, name in enumerate(IMAGENET_CATEGORIES)})
