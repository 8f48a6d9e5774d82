"""Measures backbones in OpenVINO and ONNX Runtime against the CPU's fastest matrix product and timm's Swin-T.

    python tools/dev/measure_cpu.py cpu --export-only             writes the files, which needs no idle cores
    python tools/dev/measure_cpu.py cpu                           measures, and prints a Markdown table
    python tools/dev/measure_cpu.py cpu --size 480 640 'vitae*'   one size and some networks

Files and figures stay in the folder (`cpu`): a stopped run goes on where it stopped, and the table has all figures of
the folder. Run it alone on idle cores. Swin-T, a network and the product run alternately; only shares and ratios count.
The table is for docs/benchmarks.md.
"""
import argparse
import json
from collections.abc import Callable
from datetime import date
from fnmatch import fnmatch
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.mkldnn import to_mkldnn

from mmvit.analysis.counters import count_macs
from mmvit.analysis.runtimes import TimedNetwork, measure, processor, timed_network
from mmvit.inference.runtimes import open_session
from mmvit_backbones.utils.text import markdown_table

SWIN = 'timm:swin_tiny_patch4_window7_224'
NETWORKS = ('reswin_tiny', 'remvitv2_tiny', 'revit_base', 'rest_base', 'restv2_tiny', 'refiner_vit_small',
            'vitaev2_small', 'regionvit_small', 'vitaev2_vsa_small', SWIN, 'timm:convnext_tiny', 'timm:mvitv2_tiny',
            'timm:pvt_v2_b2')
SIZES = (224, 224), (480, 640), (800, 1333)
SQUARE_ONLY = ('timm:mvitv2_tiny',)
RUNTIMES = dict(openvino='OpenVINO', onnxruntime='ONNX Runtime')
SIDE, REPEATS, THREADS = 2048, 5, 2
PRODUCT = 2e-9 * SIDE**3  # GFLOP


class Product(nn.Module):
    """A product with a constant matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(SIDE, SIDE), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix


def opened(path: Path, runtime: str) -> Callable[[np.ndarray], object]:
    """Returns a function that runs an exported file on images."""
    session = open_session(path, runtime)
    return lambda images: session(dict(images=images))


def fastest_product(folder: Path) -> Callable[[np.ndarray], object]:
    """Returns the fastest function of PyTorch, oneDNN and the runtimes for a product; it ignores its argument."""
    path, product, x = folder / 'product.onnx', Product(), torch.randn(1, SIDE, SIDE)
    TimedNetwork('product', product, x).export(path)
    linear = to_mkldnn(nn.Linear(SIDE, SIDE, bias=False).eval())
    packed, inputs = x[0].to_mkldnn(), x.numpy()
    ways = dict(PyTorch=lambda _: product(x), oneDNN=lambda _: linear(packed))
    for runtime in RUNTIMES:
        ways[runtime] = partial(lambda run, _: run(inputs), opened(path, runtime))
    found = measure(ways, inputs, REPEATS)
    print({name: f'{1000 * PRODUCT / figures["ms"]:.0f} GFLOP/s' for name, figures in found.items()}, flush=True)
    return ways[min(found, key=lambda name: found[name]['ms'])]


def export(network: str, size: tuple[int, int], folder: Path) -> tuple[Path, float]:
    """Returns the file of a network for one image size, exported if it is missing, and the GFLOP of an image."""
    path = folder / f'{network.replace(":", "_")}_{size[0]}x{size[1]}.onnx'
    counted = path.with_suffix('.gflop')
    if not counted.exists():
        subject = timed_network(network, True, size, 1)
        subject.export(path)
        counted.write_text(str(2 * count_macs(subject.model.to('meta'), subject.images.to('meta'))))
        print(path, counted.read_text(), 'GFLOP', flush=True)
    return path, float(counted.read_text())


def measure_network(network: str, size: tuple[int, int], runtime: str, product: Callable, folder: Path) -> dict:
    """Returns milliseconds, GFLOP/s as a share of the product's, and how many times Swin-T's they are."""
    functions, gflop = {}, {}
    for name in dict.fromkeys([SWIN, network]):
        path, gflop[name] = export(name, size, folder)
        functions[name] = opened(path, runtime)
    images = np.random.default_rng(0).random((1, 3, *size), dtype=np.float32)
    found = measure(dict(functions, product=product), images, REPEATS)
    share = gflop[network] / found[network]['ms'] * found['product']['ms'] / PRODUCT
    ratio = gflop[network] / gflop[SWIN] * found[network]['speedup']
    return dict(network=network, size=f'{size[0]} × {size[1]}', runtime=runtime, ms=found[network]['ms'], share=share,
                ratio=ratio)


def table(rows: list[dict]) -> str:
    """Returns a Markdown table: a row per network, and per size and runtime the share and the ratio."""
    columns = [(size, runtime) for size in dict.fromkeys(row['size'] for row in rows) for runtime in RUNTIMES]
    cells = {(row['network'], row['size'], row['runtime']): f'{row["share"]:.0%} ({row["ratio"]:.2f})' for row in rows}
    lines = markdown_table(['network', *(f'{size}, {RUNTIMES[runtime]}' for size, runtime in columns)], (
        [f'`{network}`', *(cells.get((network, *column), '') for column in columns)] for network in NETWORKS))
    versions = ', '.join(f'{name} {version(name)}' for name in ('torch', 'timm', *RUNTIMES))
    return f'{processor()}, {THREADS} threads, {versions}, {date.today()}; median of {REPEATS}\n\n{lines}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('networks', nargs='*', default=['*'], help='names or shell patterns; default: all')
    parser.add_argument('--size', type=int, nargs=2, metavar=('H', 'W'), help='default: three sizes')
    parser.add_argument('--export-only', action='store_true')
    args = parser.parse_args()
    args.folder.mkdir(exist_ok=True)
    torch.set_num_threads(THREADS)
    chosen = [(name, size) for size in ([tuple(args.size)] if args.size else SIZES) for name in NETWORKS
              if any(fnmatch(name, p) for p in args.networks) and (size[0] == size[1] or name not in SQUARE_ONLY)]
    for network, size in chosen:
        export(network, size, args.folder)
    if args.export_only:
        return
    figures = args.folder / 'figures.jsonl'
    rows = [json.loads(line) for line in figures.read_text().splitlines()] if figures.exists() else []
    known = {(row['network'], row['size'], row['runtime']) for row in rows}
    product = fastest_product(args.folder)
    for network, size in chosen:
        for runtime in RUNTIMES:
            if (network, f'{size[0]} × {size[1]}', runtime) not in known:
                rows.append(measure_network(network, size, runtime, product, args.folder))
                print(rows[-1], flush=True)
                with figures.open('a') as file:
                    file.write(json.dumps(rows[-1]) + '\n')
    print(table(rows))


if __name__ == '__main__':
    main()
