"""Measures the operators of an exported backbone in OpenVINO or ONNX Runtime, each beside its own limit.

    python tools/dev/measure_operators.py cpu vitaev2_vsa_small --size 224 224 --runtime openvino

The limit of an operator is the larger of two times: its multiply-adds at the speed of the CPU's fastest matrix product,
and the bytes of its inputs and outputs at the speed of a copy. A runtime's profile gives its own time, the fastest of
several runs. `cpu` is the folder of measure_cpu.py. Run it alone on idle cores.
"""
import argparse
import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import openvino
import torch
from measure_cpu import PRODUCT, RUNTIMES, THREADS, export, fastest_product

from mmvit.analysis.runtimes import measure
from mmvit_backbones.utils.text import markdown_table

RUNS = 7
FLOAT = 4  # bytes
CACHED = 2**23  # bytes: an operator with fewer reads what the one before it wrote from the cache


class Operator(NamedTuple):
    """An operator in a runtime's profile: its type there, milliseconds, and the shapes of its inputs and output."""

    kind: str
    ms: float
    inputs: list[list[int]]
    output: list[int]


def openvino_operators(path: Path, images: np.ndarray) -> Iterator[Operator]:
    """Yields the operators of a file in OpenVINO."""
    model = openvino.Core().compile_model(path, 'CPU', {
        'PERF_COUNT': True, 'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_NUM_THREADS': THREADS})
    request, profiles = model.create_infer_request(), []
    for _ in range(RUNS):
        request.infer([images])
        profiles.append({info.node_name: info.real_time.total_seconds() for info in request.profiling_info})
    for node in model.get_runtime_model().get_ordered_ops():
        seconds = min(profile.get(node.get_friendly_name(), 0) for profile in profiles)
        if seconds and node.get_output_size():
            values = [*node.inputs(), node.output(0)]
            shapes = [[size.get_length() for size in value.get_partial_shape()] for value in values]
            yield Operator(node.get_rt_info()['layerType'].astype(str), 1000 * seconds, shapes[:-1], shapes[-1])


def onnxruntime_operators(path: Path, images: np.ndarray) -> Iterator[Operator]:
    """Yields the operators of a file in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.enable_profiling, options.profile_file_prefix = True, f'{folder}/profile'
        session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        for _ in range(RUNS):
            session.run(None, dict(images=images))
        events = json.loads(Path(session.end_profiling()).read_text())
    times, found = defaultdict(list), {}
    for event in events:
        if event['cat'] == 'Node' and event['name'].endswith('_kernel_time'):
            times[event['name']].append(event['dur'] / 1000)
            found[event['name']] = event['args']
    for name, args in found.items():
        inputs, outputs = (
            [next(iter(shape.values())) for shape in args[key]] for key in ('input_type_shape', 'output_type_shape'))
        yield Operator(args['op_name'], min(times[name]), inputs, outputs[0])


ROWS = {
    'transposes, layouts': ('Transpose', 'Reorder', 'ReorderInput', 'ReorderOutput', 'Reshape'),
    'gathers, pads, splits': ('Gather', 'GatherElements', 'Pad', 'Split', 'StridedSlice', 'Slice', 'Concat',
                              'Concatenation'),
    'norms, softmax, pooling': ('MVN', 'LayerNormalization', 'SkipLayerNormalization', 'Softmax', 'Pooling',
                                'AveragePool', 'MaxPool', 'GlobalAveragePool'),
    'element-wise, fused attention': ('Eltwise', 'Subgraph', 'Add', 'Mul', 'Sub', 'Div', 'Sigmoid', 'Erf',
                                      'Gelu', 'BiasGelu', 'QuickGelu'),
}
PROFILES = dict(openvino=openvino_operators, onnxruntime=onnxruntime_operators)


def is_convolution(operator: Operator) -> bool:
    """Returns whether an operator is a convolution."""
    return operator.kind.lower().endswith(('conv', 'convolution'))


def is_linear(operator: Operator) -> bool:
    """Returns whether an operator is a product with weights; ONNX Runtime does not list packed weights."""
    kind, inputs = operator.kind, operator.inputs
    return kind == 'FullyConnected' or kind.endswith(('MatMul', 'Gemm')) and (len(inputs) == 1 or len(inputs[1]) < 3)


def gflop(operator: Operator) -> float:
    """Returns twice the multiply-adds of an operator, in 1e9; 0 for all but convolutions and products."""
    inputs, output = operator.inputs, operator.output
    if is_convolution(operator):
        per_output = math.prod(inputs[1]) / output[1]  # channels of a group and the kernel
    elif is_linear(operator):
        per_output = inputs[0][-1]
    elif operator.kind.endswith('MatMul'):  # either input may be transposed
        per_output = math.sqrt(math.prod(inputs[0]) * math.prod(inputs[1]) / math.prod(output) / math.prod(output[:-2]))
    else:
        return 0
    return 2e-9 * math.prod(output) * per_output


def group(operator: Operator) -> str:
    """Returns the row of an operator in the table."""
    kind = operator.kind
    if is_convolution(operator):
        channels = operator.inputs[1][-3]
        if channels == operator.inputs[0][1]:
            return 'dense convolutions'
        return 'depthwise convolutions' if channels == 1 else f'convolutions of {channels} channels per group'
    if is_linear(operator):
        return 'linear layers'
    if gflop(operator):
        return 'products in attention'
    return next((row for row, kinds in ROWS.items() if kind in kinds), 'others')


def copy_seconds_per_byte(count: int) -> float:
    """Returns the time of a copy of so many bytes per byte that it reads or writes."""
    source, times = torch.ones(count // FLOAT), []
    target = torch.empty_like(source)
    for _ in range(20):
        start = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - start)
    return min(times) / (2 * count)


def by_group(operators: list[Operator], gflop_per_ms: float, ms_per_byte: dict[bool, float]) -> dict[str, np.ndarray]:
    """Returns the milliseconds of each group of operators, and those of its limit."""
    groups = defaultdict(lambda: np.zeros(2))
    for operator in operators:
        count = FLOAT * sum(map(math.prod, [*operator.inputs, operator.output]))
        groups[group(operator)] += operator.ms, max(gflop(operator) / gflop_per_ms, count * ms_per_byte[count < CACHED])
    return {**groups, 'sum': sum(groups.values())}


def table(columns: dict[str, dict[str, np.ndarray]]) -> str:
    """Returns a Markdown table: a row per group of operators, a column per network."""
    names = dict.fromkeys(name for column in columns.values() for name in column if name != 'sum')
    order = sorted(names, key=lambda name: -sum(column[name][0] for column in columns.values() if name in column))
    rows = []
    for name in [*order, 'sum']:
        cells = (column.get(name) for column in columns.values())
        rows.append([name, *('' if cell is None else f'{cell[0]:.1f} / {cell[1]:.1f}' for cell in cells)])
    return markdown_table(['operators', *(f'`{network}`' for network in columns)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('networks', nargs='+')
    parser.add_argument('--size', type=int, nargs=2, default=(224, 224), metavar=('H', 'W'))
    parser.add_argument('--runtime', choices=list(PROFILES), nargs='+', default=list(PROFILES))
    args = parser.parse_args()
    args.folder.mkdir(exist_ok=True)
    torch.set_num_threads(THREADS)
    product, size = fastest_product(args.folder), tuple(args.size)
    images = np.random.default_rng(0).random((1, 3, *size), dtype=np.float32)
    for runtime in args.runtime:
        columns, speeds = {}, []
        for network in args.networks:
            path, _ = export(network, size, args.folder)
            operators = list(PROFILES[runtime](path, images))
            gflop_per_ms = PRODUCT / measure(dict(product=product), images, RUNS)['product']['ms']
            cached, uncached = (1000 * copy_seconds_per_byte(count) for count in (CACHED // 4, 2**28))
            columns[network] = by_group(operators, gflop_per_ms, {True: cached, False: uncached})
            speeds.append((1000 * gflop_per_ms, 1e-6 / cached, 1e-6 / uncached))
        product_speed, cached, uncached = np.median(speeds, axis=0)
        print(f'\n{RUNTIMES[runtime]}, {size[0]} × {size[1]}, {THREADS} threads, milliseconds / limit: the product '
              f'reaches {product_speed:.0f} GFLOP/s, a copy {cached:.0f} GB/s in the cache, {uncached:.0f} outside\n')
        print(table(columns), flush=True)


if __name__ == '__main__':
    main()
