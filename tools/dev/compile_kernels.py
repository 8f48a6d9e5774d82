"""Compile the Triton kernels for GPUs that need not be there, and print what each kernel takes.

    python tools/dev/compile_kernels.py                        all targets, float16, heads of 32, 64 and 128 channels
    python tools/dev/compile_kernels.py --targets 90 gfx942 --dtypes bfloat16 --channels 64
    python tools/dev/compile_kernels.py --quick                heads of 32 channels, largest launches; as in CI

A row is a kernel: registers per thread and bytes of shared memory on each target, the most of its launches. One that
spills registers ends the run with exit code 1, and so does one of which torch.compile would think that it writes other
arguments than the results of its operator.
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

from mmvit_backbones.ops import dispatch
from mmvit_backbones.ops import triton as kernels
from mmvit_backbones.ops.triton.launch import warps_of
from mmvit_backbones.utils.measure import storage_key, tensors_in

TRITON_TYPES = {torch.float16: 'fp16', torch.bfloat16: 'bf16', torch.float32: 'fp32'}
TARGETS = {'80': GPUTarget('cuda', 80, 32), '90': GPUTarget('cuda', 90, 32), '100': GPUTarget('cuda', 100, 32),
           'gfx942': GPUTarget('hip', 'gfx942', 64)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('kernels', nargs='*', default=['*'], help="names or shell patterns, 'residual_attention.*'")
    parser.add_argument('--targets', nargs='+', choices=TARGETS, default=list(TARGETS), help='compute capabilities')
    parser.add_argument('--dtypes', nargs='+', choices=['float16', 'bfloat16', 'float32'], default=['float16'])
    parser.add_argument('--channels', nargs='+', type=int, choices=[16, 32, 64, 128], default=[32, 64, 128],
                        help='of a head')
    parser.add_argument('--quick', action='store_true', help='the largest launch of each kernel, heads of 32 channels')
    args = parser.parse_args()
    triton.knobs.nvidia.dump_ptxas_log = triton.knobs.compilation.always_compile = True  # what is cached tells nothing
    launches_of = {dtype: recorded_launches(getattr(torch, dtype)) for dtype in args.dtypes}
    names = sorted({name_of(kernel) for launches in launches_of.values() for kernel in launches})
    wanted = [name for name in names if any(fnmatch(name, pattern) for pattern in args.kernels)]
    if not wanted:
        parser.error(f'no kernel is called {" or ".join(args.kernels)}; there are: {", ".join(names)}')
    print(f'| kernel | dtype | channels | {" | ".join(args.targets)} |\n|---|---|---|{"---|" * len(args.targets)}')
    triton.runtime.driver.set_active(argparse.Namespace(get_current_target=lambda: TARGETS[args.targets[0]]))
    faults = []
    for dtype in args.dtypes:
        for kernel, launches in launches_of[dtype].items():
            name = name_of(kernel)
            if name not in wanted:
                continue
            if args.quick:
                launches = [max(launches, key=size_of)]
            faults += [f'{name} seems to write {sorted(found)}, not {sorted(launch.made)}' for launch in launches
                       if not launch.made <= (found := written(kernel, launch)) <= launch.made | launch.passed]
            for channels in ([32] if args.quick else args.channels) if 'BLOCK_D' in launches[0].constants else ['']:
                found = [most(kernel, launches, channels, TARGETS[target]) for target in args.targets]
                cells = [f'{registers}, {shared}' for registers, shared, _ in found]
                print(f'| `{name}` | {dtype} | {channels} | {" | ".join(cells)} |', flush=True)
                faults += [f'{name} spills {spills} on {target}'
                           for target, (*_, spills) in zip(args.targets, found) if spills]
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
    made: set  # names of the arguments that the operator makes
    passed: set  # names of those that it gets for writing


class Operator(TorchDispatchMode):
    """Records the storages passed to the current operator, and whether it declares to write to them."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == 'mmvit':
            self.written = {storage_key(x): spec.alias_info is not None
                            for value, spec in zip(args, function._schema.arguments) for x in tensors_in(value)}
        return function(*args, **(kwargs or {}))


def recorded_launches(dtype):
    """Returns the launches of every kernel by the operators, once per set of constants."""
    launches = {}

    def record(kernel, grid, first, *arguments, **constants):
        values = dict(zip(kernel.arg_names, (first, *arguments)))
        is_written = {name: operator.written.get(storage_key(x)) for name, x in values.items()
                      if torch.is_tensor(x) and x.numel()}
        made, passed = ({name for name, known in is_written.items() if known is state} for state in (None, True))
        launches.setdefault(kernel, {})[tuple(constants.items())] = Launch(values, constants, made, passed)

    for module in pkgutil.iter_modules(kernels.__path__):
        importlib.import_module(f'{kernels.__name__}.{module.name}').launch = record
    with Operator() as operator:
        for name in dispatch.OPERATORS:
            dispatch.run_example(name, 'triton', torch.device('meta'), dtype)
    return {kernel: list(of_kernel.values()) for kernel, of_kernel in launches.items()}


def written(kernel, launch):
    """Returns the names of the arguments that torch regards as written."""
    values = {name: torch.empty(2, dtype=x.dtype) if torch.is_tensor(x) else x for name, x in launch.values.items()}
    return set(identify_mutated_tensors(kernel, {**values, **launch.constants}, {}))


def source_of(kernel, values, constants):
    """Returns the source as Triton specializes a launch: strides of 1 are constants, multiples of 16 are marked."""
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
    """Returns registers per thread and spills reported by NVIDIA's assembler and AMD's compiler."""
    if 'ptx' in compiled.asm:
        return int(re.search(r'(\d+) registers', log)[1]), int(re.search(r'(\d+) bytes spill stores', log)[1])
    told = compiled.asm['amdgcn']
    return int(re.search(r'\.vgpr_count: +(\d+)', told)[1]), int(re.search(r'\.vgpr_spill_count: +(\d+)', told)[1])


if __name__ == '__main__':
    main()
