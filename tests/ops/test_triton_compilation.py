"""Triton compiles every kernel for GPUs, although there is no GPU."""
import importlib
import os
import pkgutil
import re
import subprocess
import sys

import pytest
from helpers import ROOT

triton = pytest.importorskip('triton')

TARGETS = ('cuda', 80, 32), ('cuda', 90, 32), ('hip', 'gfx942', 64)


@pytest.mark.compiler
def test_kernels_compile_without_spills():
    """Runs in a separate process, because Triton is in interpreter mode here. Spilled registers are slow."""
    environment = {**os.environ, 'TRITON_INTERPRET': '0', 'PYTHONPATH': f'{ROOT}{os.pathsep}{ROOT / "tests/support"}'}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert len(done.stdout.splitlines()) >= 9 and not re.search(' spills [^0]', done.stdout), done.stdout


def main() -> None:
    """Prints the spills of the launch of each kernel with the largest blocks, for every target."""
    import contextlib
    import io
    from argparse import Namespace

    from triton.backends.compiler import GPUTarget

    from mmvit_backbones.ops.triton.launch import warps_of
    targets = [GPUTarget(*target) for target in TARGETS]
    triton.knobs.nvidia.dump_ptxas_log = True
    triton.knobs.compilation.always_compile = True  # kernels in the cache have no log
    triton.runtime.driver.set_active(Namespace(get_current_target=lambda: targets[0]))
    for (kernel, _), launches in launches_of_kernels().items():
        values, constants = max(launches, key=lambda launch: sum(map(int, filter(is_int, launch[1].values()))))
        dtype = values[kernel.arg_names[0]].dtype
        for target in targets:
            with contextlib.redirect_stdout(io.StringIO()) as log:
                compiled = triton.compile(source_of(kernel, values, constants), target=target,
                                          options=dict(num_warps=warps_of(constants, dtype, target.warp_size)))
            found = (re.search(r'(\d+) bytes spill stores', log.getvalue()) if target.backend == 'cuda'
                     else re.search(r'\.vgpr_spill_count: +(\d+)', compiled.asm['amdgcn']))
            print(f'{kernel.__name__} {target.arch} spills {found[1]}')


def is_int(value: object) -> bool:
    return isinstance(value, int)


def launches_of_kernels() -> dict:
    """Returns the arguments and constants of launches on meta tensors, by kernel and whether windows are one block."""
    import torch

    from mmvit_backbones.ops import triton as kernels
    from mmvit_backbones.ops.residual_attention import residual_attention
    launches = {}

    def record(kernel, grid, *arguments, **constants):
        key = kernel, 'TOKENS' in constants and constants['TOKENS'] > 0
        launches.setdefault(key, []).append((dict(zip(kernel.arg_names, arguments)), constants))

    for module in pkgutil.iter_modules(kernels.__path__):
        importlib.import_module(f'{kernels.__name__}.{module.name}').launch = record
    for tokens, channels in (49, 32), (197, 64), (197, 128):  # a window that is one block, and maps of several blocks
        q, logits = (torch.empty(1, 4, 2, tokens, n, device='meta', dtype=torch.float16, requires_grad=True)
                     for n in (channels, tokens))
        attended, others = residual_attention(q, q, q, prev_logits=logits, alpha=0.5, bias=logits,
                                              mask=logits.detach(), backend='triton')
        (attended.sum() + others.sum()).backward()
    return launches


def source_of(kernel, values: dict, constants: dict):
    """Returns a kernel's source with the types that Triton derives from the arguments of a launch."""
    import torch
    types = {torch.float16: '*fp16', torch.float32: '*fp32', torch.int32: '*i32', torch.int64: '*i64'}
    constants = {**constants, **{name: 1 for name, value in values.items() if is_int(value) and value == 1}}
    signature = {name: 'constexpr' if name in constants else types[value.dtype] if torch.is_tensor(value)
                 else 'fp32' if isinstance(value, float) else 'i32'
                 for name in kernel.arg_names for value in [values.get(name)]}
    aligned = {(i, ): [['tt.divisibility', 16]] for i, name in enumerate(kernel.arg_names)
               if torch.is_tensor(values.get(name)) or signature[name] == 'i32' and values[name] % 16 == 0}
    return triton.compiler.ASTSource(
        kernel, signature, {(kernel.arg_names.index(name), ): value for name, value in constants.items()}, aligned)


if __name__ == '__main__':
    main()
