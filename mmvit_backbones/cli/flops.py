"""Counts the parameters and multiply-adds of networks, or their kernels, memory traffic and peak memory."""
import argparse
import json

import torch
from mmengine.registry import MODELS

from ..analysis.counters import count, count_macs
from ..errors import UsageError
from ..utils.installation import install_command
from ..zoo.build import import_mmpretrain
from ..zoo.variants import VARIANTS, find_names

# The authors' classifiers with batches of 64 images of 224 x 224 pixels in bfloat16: kernels and GB moved in a forward
# pass, then in a training step.
AUTHORS = {
    'reswin_tiny': (333, 14.41, 815, 38.13), 'remvitv2_tiny': (592, 20.24, 1255, 59.45),
    'revit_base': (254, 18.79, 740, 60.11), 'rest_lite': (189, 5.4, 532, 15.3),
    'rest_small': (277, 6.68, 768, 18.95), 'rest_base': (277, 9.64, 768, 27.48),
    'restv2_tiny': (286, 8.98, 765, 24.46), 'restv2_small': (430, 12.09, 1143, 32.92),
    'regionvit_tiny': (567, 10.78, 1755, 37.12), 'regionvit_small': (567, 16.16, 1755, 55.7),
    'vitae_tiny': (316, 8.76, 850, 24.01), 'vitaev2_small': (517, 17.75, 1381, 51.36),
    'vitaev2_vsa_small': (929, 23.69, 2460, 63.87), 'vitae_base': (306, 23.62, 878, 71.88),
    'refiner_vit_small_plain': (444, 39.85, 1169, 107.23),
}


def main(args: argparse.Namespace) -> None:
    if not args.traffic and (args.batch_size or args.dtype or args.with_cp):
        raise UsageError('--batch-size, --dtype and --with-cp require --traffic')
    names = find_names(args.networks)
    task = 'backbone' if args.backbone else 'classification'
    if task == 'classification':
        try:
            import_mmpretrain()
        except ImportError:
            raise UsageError(f'counting classifiers needs mmpretrain: {install_command("mmpretrain")}, or pass '
                             '--backbone') from None
    if args.traffic:
        count_traffic(args, names, task)
        return
    rows = [macs_of(name, args.size, task) for name in names]
    print(json.dumps(rows, indent=1) if args.json else table(rows))


# ---- multiply-adds


def macs_of(name: str, size: tuple[int, int] | None, task: str) -> dict:
    """Returns the row of a network in the table; ``gmacs`` is in units of 1e9 multiply-adds per image."""
    variant = VARIANTS[name]
    height, width = size or (variant.img_size, variant.img_size)
    with torch.device('meta'):
        model = MODELS.build(variant.model_config(task)).eval()
        images = torch.empty(1, 3, height, width)
    published = variant.published_gmacs if task == 'classification' and height == width == variant.img_size else None
    return dict(name=name, height=height, width=width, parameters=sum(p.numel() for p in model.parameters()),
                gmacs=round(count_macs(model.eval(), images), 3), published_gmacs=published)


def table(rows: list[dict]) -> str:
    lines = [f'{"network":<24}{"height x width":>16}{"parameters":>14}{"GMACs":>10}{"published":>11}']
    for row in rows:
        size = f'{row["height"]}x{row["width"]}'
        published = '' if row['published_gmacs'] is None else row['published_gmacs']
        lines.append(f'{row["name"]:<24}{size:>16}{row["parameters"]:>14,}{row["gmacs"]:>10.2f}{published:>11}')
    return '\n'.join(lines)


# ---- kernels, bytes and memory


def count_traffic(args: argparse.Namespace, names: list[str], task: str) -> None:
    """Prints the counts of each network, followed by the authors' counts if the settings match."""
    size, batch_size, dtype = tuple(args.size or (224, 224)), args.batch_size or 64, args.dtype or 'bfloat16'
    settings = size, batch_size, dtype, task, args.with_cp
    is_as_authors = settings == ((224, 224), 64, 'bfloat16', 'classification', False)
    result = {}
    for name in names:
        config = VARIANTS[name].model_config(task, with_cp=args.with_cp)
        del config.get('backbone', config)['drop_path_rate']  # the authors' counts use the network's default
        with torch.device('meta'):
            images = torch.empty(batch_size, 3, *size, dtype=getattr(torch, dtype))
            model = MODELS.build(config).to(images.dtype)
        result[name] = {part: in_gigabytes(counted) for part, counted in count(model, images).items()}
        if not args.json:
            print(describe(name, result[name], AUTHORS.get(name) if is_as_authors else None), flush=True)
    if args.json:
        print(json.dumps(result, indent=1))


def in_gigabytes(counted: dict[str, int]) -> dict[str, float]:
    sizes = {f'{key}_gb': round(value / 1e9, 2) for key, value in counted.items() if key != 'kernels'}
    return dict(kernels=counted['kernels'], **sizes)


def describe(name: str, counted: dict[str, dict], authors: tuple | None) -> str:
    lines = []
    for index, (part, ours) in enumerate(counted.items()):
        saved = f', saved {ours["saved_gb"]:.2f} GB' if 'saved_gb' in ours else ''
        line = f'{name:26} {part:8} {ours["kernels"]:5} kernels {ours["moved_gb"]:7.2f} GB moved'
        if authors:
            kernels, gb = authors[2 * index:2 * index + 2]
            line += (f' (authors: {kernels} kernels, {gb} GB; ratios: {ours["kernels"] / kernels:.2f}, '
                     f'{ours["moved_gb"] / gb:.2f})')
        lines.append(f'{line}, peak {ours["peak_gb"]:.2f} GB{saved}')
    return '\n'.join(lines)
