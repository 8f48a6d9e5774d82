"""Counts kernels, bytes moved and peak memory of networks on a GPU, without a GPU and without computing anything.

    python tools/analysis/count_traffic.py reswin_tiny 'rest*'
    python tools/analysis/count_traffic.py remvitv2_tiny --backbone --size 800 1344 --batch-size 2 --with-cp

Runs on PyTorch's meta device. Each operator except views is one kernel, which reads its arguments and writes its
results. The peak counts all live tensors: activations and gradients, not parameters, nor memory that libraries
allocate within one operation. A step is forward in training mode, which leaves `saved` bytes, mean of squares
of the results, and backward. GB are 1e9 bytes. The authors' figures were counted in the same way on their
implementations.
"""
import argparse
import json
import sys
from pathlib import Path

import torch
from mmengine.registry import MODELS

from mmvit_backbones.zoo.build import import_mmpretrain
from mmvit_backbones.zoo.variants import VARIANTS, find_names

sys.path.append(str(Path(__file__).resolve().parents[1]))
from common.command_line import run_script  # noqa: E402
from common.measure import count  # noqa: E402

# Of the authors' classifiers, batch 64, 224 x 224, bfloat16: kernels and GB moved of forward and of a step.
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


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('networks', nargs='+', help='names or shell patterns, see mmvit_backbones.list_models()')
    parser.add_argument('--size', type=int, nargs=2, default=(224, 224), metavar=('H', 'W'), help='default: 224 224')
    parser.add_argument('--batch-size', type=int, default=64, help='default: %(default)s')
    parser.add_argument('--dtype', choices=['bfloat16', 'float16', 'float32'], default='bfloat16',
                        help='of weights and activations (default: %(default)s)')
    parser.add_argument('--backbone', action='store_true', help='the bare backbone with all its maps')
    parser.add_argument('--with-cp', action='store_true', help='recompute blocks in the backward pass')
    parser.add_argument('--json', action='store_true', help='print JSON')
    return parser


def main(args: argparse.Namespace) -> None:
    names, result = find_names(args.networks), {}
    task = 'backbone' if args.backbone else 'classification'
    if task == 'classification':
        import_mmpretrain()
    is_as_published = (*args.size, args.batch_size, args.dtype, task) == (224, 224, 64, 'bfloat16', 'classification')
    for name in names:
        config = VARIANTS[name].model_config(task, with_cp=args.with_cp)
        del config.get('backbone', config)['drop_path_rate']  # the network's default, as in the authors' figures
        with torch.device('meta'):
            images = torch.empty(args.batch_size, 3, *args.size, dtype=getattr(torch, args.dtype))
            model = MODELS.build(config).to(images.dtype)
        result[name] = {what: {key if key == 'kernels' else f'{key}_gb': x if key == 'kernels' else round(x / 1e9, 2)
                               for key, x in counted.items()} for what, counted in count(model, images).items()}
        if not args.json:
            print(describe(name, result[name], AUTHORS.get(name) if is_as_published else None), flush=True)
    if args.json:
        print(json.dumps(result, indent=1))


def describe(name: str, counted: dict[str, dict], authors: tuple | None) -> str:
    lines = []
    for index, (what, ours) in enumerate(counted.items()):
        saved = f', saved {ours["saved_gb"]:.2f}' if 'saved_gb' in ours else ''
        line = f'{name:26} {what:8} {ours["kernels"]:5} kernels {ours["moved_gb"]:7.2f} GB moved'
        if authors:
            kernels, gb = authors[2 * index:2 * index + 2]
            line += f' (authors {kernels}, {gb}: ratio {ours["kernels"] / kernels:.2f}, {ours["moved_gb"] / gb:.2f})'
        lines.append(f'{line}, peak {ours["peak_gb"]:.2f} GB{saved}')
    return '\n'.join(lines)


if __name__ == '__main__':
    run_script(get_parser(), main)
