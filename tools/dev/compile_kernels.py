"""Compiles the Triton kernels for several GPUs, which need not be present, and prints the resources of each kernel.

    python tools/dev/compile_kernels.py                        all targets, float16, heads of 32, 64 and 128 channels
    python tools/dev/compile_kernels.py --targets 90 gfx942 --dtypes bfloat16 --channels 64
    python tools/dev/compile_kernels.py --quick                largest launches, heads of 32 channels; used in CI

Each row shows the registers per thread and the bytes of shared memory of a kernel on each target, as maxima over its
launches. The exit code is 1 if a kernel spills registers, or if torch.compile would assume that a kernel writes to
other arguments than its operator does.
"""
import argparse
import contextlib
import importlib
import io
import pkgutil
import re
import sys
from fnmatch import fnmatch
from typing import NamedTuple

import torch
import triton
from torch._higher_order_ops.triton_kernel_wrap import identify_mutated_tensors
from torch.utils._python_dispatch import TorchDispatchMode
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mmvit.analysis import self_check
from mmvit.analysis.counters import storage_key, tensors_in
from mmvit_backbones.ops import dispatch
from mmvit_backbones.ops import triton as kernels
from mmvit_backbones.ops.triton.launch import warps_of

TRITON_TYPES = {torch.float16: 'fp16', torch.bfloat16: 'bf16', torch.float32: 'fp32', torch.int32: 'i32',
                torch.int64: 'i64'}
TARGETS = {'80': GPUTarget('cuda', 80, 32), '90': GPUTarget('cuda', 90, 32), '100': GPUTarget('cuda', 100, 32),
           'gfx942': GPUTarget('hip', 'gfx942', 64)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('kernels', nargs='*', default=['*'],
                        help="names or shell patterns, such as 'residual_attention.*'; default: all")
    parser.add_argument('--targets', nargs='+', choices=TARGETS, default=list(TARGETS),
                        help='compute capabilities of NVIDIA GPUs, or architectures of AMD GPUs; default: all')
    parser.add_argument('--dtypes', nargs='+', choices=['float16', 'bfloat16', 'float32'], default=['float16'])
    parser.add_argument('--channels', nargs='+', type=int, choices=[16, 32, 64, 128], default=[32, 64, 128],
                        help='number of channels per head')
    parser.add_argument('--quick', action='store_true',
                        help='only the largest launch of each kernel, with heads of 32 channels')
    args = parser.parse_args()
    triton.knobs.nvidia.dump_ptxas_log = True
    triton.knobs.compilation.always_compile = True  # cached kernels have no log
    launches_of = {dtype: recorded_launches(getattr(torch, dtype)) for dtype in args.dtypes}
    names = sorted({name_of(kernel) for launches in launches_of.values() for kernel in launches})
    wanted = [name for name in names if any(fnmatch(name, pattern) for pattern in args.kernels)]
    if not wanted:
        parser.error(f'kernels must be among {", ".join(names)}, got {", ".join(args.kernels)}')
    print(f'| kernel | dtype | channels | {" | ".join(args.targets)} |\n|---|---|---|{"---|" * len(args.targets)}')
    triton.runtime.driver.set_active(argparse.Namespace(get_current_target=lambda: TARGETS[args.targets[0]]))
    faults = []
    for dtype in args.dtypes:
        for kernel, launches in launches_of[dtype].items():
            name = name_of(kernel)
            if name not in wanted:
                continue
            channel_counts = args.channels
            if args.quick:
                launches, channel_counts = [max(launches, key=size_of)], [32]
            if 'BLOCK_D' not in launches[0].constants:
                channel_counts = ['']
            for launch in launches:
                names_written = written(kernel, launch)
                if not launch.allocated <= names_written <= launch.allocated | launch.declared:
                    faults.append(f'{name} must write to {sorted(launch.allocated)}, got {sorted(names_written)}')
            for channels in channel_counts:
                resources_used = [most(kernel, launches, channels, TARGETS[target]) for target in args.targets]
                cells = [f'{registers}, {shared}' for registers, shared, _ in resources_used]
                print(f'| `{name}` | {dtype} | {channels} | {" | ".join(cells)} |', flush=True)
                faults += [f'{name} spills registers on {target} ({spills})'
                           for target, (*_, spills) in zip(args.targets, resources_used) if spills]
    if faults:
        sys.exit('; '.join(faults))


def name_of(kernel):
    return f'{module_of(kernel)}.{kernel.__name__.strip("_")}'


def module_of(kernel):
    return kernel.__module__.split('.')[-1]


def most(kernel, launches, channels, target):
    """Returns the maxima over a kernel's launches: registers per thread, bytes of shared memory, spills."""
    found = []
    for values, constants, *_ in launches:
        constants = {**constants, 'BLOCK_D': channels} if channels else constants
        with contextlib.redirect_stdout(io.StringIO()) as log:
            compiled = triton.compile(source_of(kernel, values, constants), target=target,
                                      options=dict(num_warps=warps_of(constants, target.warp_size)))
        registers, spills = resources(compiled, log.getvalue())
        found.append((registers, compiled.metadata.shared, spills))
    return [max(column) for column in zip(*found)]


def size_of(launch):
    """Returns a sort key that grows with the block sizes."""
    return sum(value for value in launch.constants.values() if isinstance(value, int))


class Launch(NamedTuple):
    values: dict  # arguments by name
    constants: dict
    allocated: set  # names of arguments that the operator allocates
    declared: set  # names of arguments that the operator declares to write to


class Recorder(TorchDispatchMode):
    """Records which storages the current operator receives, and whether its schema declares writing to them."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == 'mmvit':
            self.written = {storage_key(x): spec.alias_info is not None
                            for value, spec in zip(args, function._schema.arguments) for x in tensors_in(value)}
        return function(*args, **(kwargs or {}))


def recorded_launches(dtype):
    """Returns the launches by kernel, one per set of constants."""
    launches = {}

    def record(kernel, grid, first, *arguments, **constants):
        values = dict(zip(kernel.arg_names, (first, *arguments)))
        tensors = {name: storage_key(x) for name, x in values.items() if torch.is_tensor(x) and x.numel()}
        allocated = {name for name, key in tensors.items() if key not in recorder.written}
        declared = {name for name, key in tensors.items() if recorder.written.get(key)}
        launches.setdefault(kernel, {})[tuple(constants.items())] = Launch(values, constants, allocated, declared)

    for module in pkgutil.iter_modules(kernels.__path__):
        importlib.import_module(f'{kernels.__name__}.{module.name}').launch = record
    with Recorder() as recorder:
        for operator in dispatch.OPERATORS.values():
            calls = self_check.calls_of(operator, 'toy', torch.device('meta'), dtype)
            self_check.values_of(operator, 'triton', calls)
    return {kernel: list(of_kernel.values()) for kernel, of_kernel in launches.items()}


def written(kernel, launch):
    """Returns the names of the arguments that torch.compile assumes the kernel writes to."""
    values = {name: torch.empty(2, dtype=x.dtype) if torch.is_tensor(x) else x for name, x in launch.values.items()}
    return set(identify_mutated_tensors(kernel, {**values, **launch.constants}, {}))


def source_of(kernel, values, constants):
    """Returns the source as specialized by Triton: integers of 1 are constants, multiples of 16 are marked."""
    constants = {**constants, **{name: 1 for name, value in values.items() if isinstance(value, int) and value == 1}}
    signature, attributes = {}, {}
    for i, name in enumerate(kernel.arg_names):
        value = values.get(name)
        if name in constants:
            signature[name] = 'constexpr'
        elif torch.is_tensor(value):
            signature[name] = '*' + TRITON_TYPES[value.dtype]
        else:
            signature[name] = 'fp32' if isinstance(value, float) else 'i32'
        if torch.is_tensor(value) or (signature[name] == 'i32' and value % 16 == 0):
            attributes[(i, )] = [['tt.divisibility', 16]]
    indexed = {(kernel.arg_names.index(name), ): value for name, value in constants.items()}
    return ASTSource(kernel, signature, indexed, attributes)


def resources(compiled, log):
    """Returns the registers per thread and the spills that NVIDIA's assembler or AMD's compiler reports."""
    if 'ptx' in compiled.asm:
        return int(re.search(r'(\d+) registers', log)[1]), int(re.search(r'(\d+) bytes spill stores', log)[1])
    code = compiled.asm['amdgcn']
    return int(re.search(r'\.vgpr_count: +(\d+)', code)[1]), int(re.search(r'\.vgpr_spill_count: +(\d+)', code)[1])


if __name__ == '__main__':
    main()
