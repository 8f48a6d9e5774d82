#!/usr/bin/env python3
"""Compiles the operators: ``python -m mmvit_backbones.ops.build [auto|cpp|cuda|0]``.

Requires a C++ compiler and, for CUDA, an nvcc of torch's major CUDA version. The default argument is the value of the
environment variable ``MMVIT_BUILD_OPS``, or ``auto``. With ``auto``, it is not an error if a library can't
be built. setup.py runs this file directly, without importing the package.

``torch.utils.cpp_extension.BuildExtension`` can't build these libraries, for four reasons:

- It compiles each source once, but the CPU kernels are compiled for three instruction sets.
- It passes the same flags to all sources.
- It links torch's Python library, which would restrict the libraries to one version of Python.
- It disables the half-precision operators that the CUDA kernels use.
"""
import argparse
import concurrent.futures
import importlib.util
import os
import platform
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

paths = runpy.run_path(str(Path(__file__).with_name('paths.py')))  # works without the package
FOLDER, SOURCES, STEMS = paths['FOLDER'], paths['SOURCES'], paths['STEMS']
CHOICES = ('auto', 'cpp', 'cuda', '0')
LIBRARY_FLAGS = ['-fPIC', '-fvisibility=hidden', '-w']
CPU_FLAGS = ['-O3', *LIBRARY_FLAGS, '-fno-math-errno']
# cpu_kernels.cpp is compiled once per instruction set, and the library selects one of them at run time.
CAPABILITIES = {'DEFAULT': []}
if platform.machine() == 'x86_64':
    CAPABILITIES['AVX2'] = ['-mavx2', '-mfma']
    CAPABILITIES['AVX512'] = ['-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl', '-mavx2', '-mfma',
                              '-mprefer-vector-width=512']
# torch tells for which architectures it is built only where a GPU is. These are those of its releases.
ARCHITECTURES_OF_TORCH = '7.0', '7.5', '8.0', '8.6', '9.0', '10.0', '12.0'
OLDEST_ARCHITECTURE = 7.0  # for older GPUs, the kernels were never compiled
NVCC_LIBRARY_FLAGS = ['-Xcompiler', '-fPIC,-fvisibility=hidden', '-w']
CUDA_FLAGS = ['-O3', '-std=c++17', *NVCC_LIBRARY_FLAGS]


class BuildError(Exception):
    """Raised if the operators can't be built; the message is a single line."""


def torch_flags() -> tuple[list[str], list[str]]:
    """Returns the flags to compile and to link sources that include torch."""
    import torch  # imported here because pip's isolated build has no torch
    if torch.__version__ < '2.4':
        raise BuildError(f'the operators need PyTorch 2.4 or newer, got {torch.__version__}')
    from torch.utils.cpp_extension import include_paths, library_paths
    standard = 20 if torch.__version__ >= '2.14' else 17  # required by torch's headers
    abi = f'-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}'
    return (['-O1', f'-std=c++{standard}', abi, *(f'-I{folder}' for folder in include_paths())],
            [*(f'-L{folder}' for folder in library_paths()), '-lc10', '-ltorch_cpu', '-ltorch'])


def find_compiler() -> list[str]:
    command = os.environ.get('CXX') or 'c++'
    compiler = command.split()
    if not (compiler and shutil.which(compiler[0])):
        raise BuildError(f'C++ compiler {command!r} not found; set the environment variable CXX')
    return compiler


def find_nvcc() -> str:
    """Returns the path of an nvcc with torch's major CUDA version.

    Searches only CUDA_HOME if it is set; otherwise NVIDIA's wheels, PATH and /usr/local/cuda, in this order.

    Raises:
        BuildError: If torch is built without CUDA, no nvcc is found, or every nvcc has another major version.
    """
    import torch
    if torch.version.cuda is None:
        raise BuildError(f'torch {torch.__version__} is built without CUDA')
    wanted = torch.version.cuda.split('.')[0]
    home = os.environ.get('CUDA_HOME')
    places = [Path(home, 'bin', 'nvcc')] if home else [nvcc_of_wheels(wanted), 'nvcc', '/usr/local/cuda/bin/nvcc']
    found = [nvcc for place in places if place and (nvcc := shutil.which(str(place)))]
    if not found:
        raise BuildError('no CUDA compiler (nvcc) found' + (f' in CUDA_HOME={home}' if home else ''))
    releases = {nvcc: release_of(nvcc) for nvcc in found}
    for nvcc, release in releases.items():
        if release == wanted:
            return nvcc
    raise BuildError(f'nvcc must have CUDA {wanted} like torch, got CUDA {", ".join(dict.fromkeys(releases.values()))}')


def nvcc_of_wheels(release: str) -> Path | None:
    """Returns the nvcc in NVIDIA's wheels of a major CUDA version, or None if any of the wheels is missing."""
    namespace = importlib.util.find_spec('nvidia')
    folders = namespace.submodule_search_locations if namespace else None
    for folder in folders or ():
        root = Path(folder, f'cu{release}')
        # One path for each of the wheels nvidia-cuda-nvcc, nvidia-nvvm, nvidia-cuda-crt, nvidia-cuda-cccl and
        # nvidia-cuda-runtime. All must be installed, but other packages may have installed only some of them.
        parts = 'bin/nvcc', 'nvvm/bin/cicc', 'include/crt', 'include/cccl', 'include/cuda_runtime.h'
        if all((root / part).exists() for part in parts):
            return root / 'bin' / 'nvcc'
    return None


def release_of(nvcc: str) -> str:
    """Returns the major CUDA version that an nvcc reports, or '?' if it reports none."""
    output = subprocess.run([nvcc, '--version'], capture_output=True, encoding='utf-8', errors='replace').stdout
    release = re.search(r'release (\d+)\.', output)
    return release.group(1) if release else '?'


def run(command: list) -> str:
    """Runs a compiler and returns its standard error."""
    done = subprocess.run([str(part) for part in command], capture_output=True, encoding='utf-8', errors='replace')
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if 'error' in line] or done.stderr.splitlines()
        raise BuildError(f'{command[0]} failed: {errors[0] if errors else f"exit status {done.returncode}"}')
    return done.stderr


def number_of_cores() -> int:
    """Returns the number of cores that this process may use, or of all, where the system does not tell it."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return getattr(os, 'process_cpu_count', os.cpu_count)() or 1  # the first since Python 3.13


def run_all(commands: list[list]) -> str:
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get('MAX_JOBS') or number_of_cores())) as pool:
        return ''.join(pool.map(run, commands))


def build_cpp(target: Path) -> str:
    compiler, (flags, libraries) = find_compiler(), torch_flags()
    objects = {name: [*compiler, *flags, *LIBRARY_FLAGS, '-c', SOURCES / f'{name}.cpp']
               for name in ('operators', 'cpu_operators')}
    for name, capability in CAPABILITIES.items():
        objects[name] = [*compiler, *flags, *CPU_FLAGS, *capability, f'-DCPU_CAPABILITY={name}',
                         f'-DCPU_CAPABILITY_{name}', '-c', SOURCES / 'cpu_kernels.cpp']
    return build_library(objects, [*compiler, '-shared'], libraries, target)


def build_cuda(target: Path) -> str:
    nvcc, (flags, libraries) = find_nvcc(), torch_flags()
    architectures = architectures_for(nvcc)
    device_flags = [*CUDA_FLAGS, *map(flag_of, architectures), f'-DMMVIT_ARCHITECTURES="{" ".join(architectures)}"']
    objects = {source.stem: [nvcc, *device_flags, '-c', source] for source in SOURCES.glob('*.cu')}
    objects['operators'] = [nvcc, *flags, *NVCC_LIBRARY_FLAGS, '-c', SOURCES / 'cuda_operators.cpp']
    # libcudart is not linked, because torch loads it anyway, and linkers don't find it in NVIDIA's wheels.
    libraries += ['-lc10_cuda', '-ltorch_cuda']
    return build_library(objects, [nvcc, '-shared', '-cudart', 'none'], libraries, target)


def architectures_for(nvcc: str) -> list[str]:
    """Returns what to compile for: TORCH_CUDA_ARCH_LIST, or what torch is built for and nvcc knows.

    By default, the newest is also compiled to PTX, from which drivers compile for newer GPUs.
    """
    import torch
    listed = subprocess.run([nvcc, '--list-gpu-arch'], capture_output=True, encoding='utf-8', errors='replace').stdout
    known = [f'{major}.{minor}' for major, minor in re.findall(r'compute_(\d+)(\d)\b', listed)]
    requested = os.environ.get('TORCH_CUDA_ARCH_LIST', '')
    if not requested.strip('; '):
        of_torch = [f'{major}.{minor}' for major, minor in
                    re.findall(r'sm_(\d+)(\d)', ' '.join(torch.cuda.get_arch_list()))] or ARCHITECTURES_OF_TORCH
        return newest_as_ptx(name for name in of_torch if name in known and float(name) >= OLDEST_ARCHITECTURE)
    return list(dict.fromkeys(re.split('[; ]+', requested.strip('; '))))


def newest_as_ptx(capabilities: Iterable[str]) -> list[str]:
    """Returns different capabilities in ascending order, the last one with PTX."""
    *others, newest = sorted(set(capabilities), key=float)
    return [*others, f'{newest}+PTX']


def flag_of(architecture: str) -> str:
    """Returns the flag of nvcc for an architecture, such as ``'9.0'`` or ``'9.0+PTX'``."""
    number, _, ptx = architecture.replace('.', '').partition('+')
    return f'-gencode=arch=compute_{number},code=' + (f'[sm_{number},compute_{number}]' if ptx else f'sm_{number}')


def build_library(objects: dict[str, list], linker: list, libraries: list, target: Path) -> str:
    """Compiles and links a library, and returns the standard error of the compilers.

    The library is moved to ``target`` when it is complete, so that other processes never load a partial file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        files = {name: Path(folder, f'{name}.o') for name in objects}
        messages = run_all([[*command, '-o', files[name]] for name, command in objects.items()])
        run([*linker, *files.values(), *libraries, '-o', Path(folder, target.name)])
        os.replace(Path(folder, target.name), target)
    return messages


def build(what: str = 'auto', folder: Path = FOLDER) -> dict[str, str]:
    """Builds the libraries and returns a status message for each backend.

    Args:
        what (str): ``'cpp'`` builds the C++ library, ``'cuda'`` builds both, ``'auto'`` whichever can be built, and
            ``'0'`` none.
        folder (Path): Folder of the libraries. Defaults to the folder of this file.

    Raises:
        BuildError: If ``what`` has another value, or a library of ``'cpp'`` or ``'cuda'`` can't be built.
    """
    if what not in CHOICES:
        raise BuildError(f'MMVIT_BUILD_OPS must be one of {CHOICES}, got {what!r}')
    wanted = {'0': (), 'cpp': ('cpp', )}.get(what, STEMS)
    report = {kind: build_one(kind, folder) if kind in wanted else 'not requested' for kind in STEMS}
    failed = [f'{kind} {result}' for kind, result in report.items() if result.startswith('not built')]
    if failed and what != 'auto':
        raise BuildError(f'MMVIT_BUILD_OPS={what}: {"; ".join(failed)}')
    return report


def build_one(kind: str, folder: Path) -> str:
    try:
        import torch
        target = folder / paths['library_name'](kind, torch.__version__)
        (build_cpp if kind == 'cpp' else build_cuda)(target)
    except ModuleNotFoundError as error:  # torch, or setuptools, which torch's own helpers for builds need
        return (f'not built: {error.name} is not installed in the build environment; '
                'use pip install --no-build-isolation')
    except Exception as error:  # whatever a broken torch or compiler raises, the package installs without the library
        return f'not built: {error}'
    return f'built {target.name}'


def main() -> None:
    parser = argparse.ArgumentParser(description='Compile the operators for the installed version of torch.')
    parser.add_argument('what', nargs='?', choices=CHOICES,
                        help='cpp: C++; cuda: C++ and CUDA; auto: whichever of these can be built; 0: nothing '
                             '(default: MMVIT_BUILD_OPS, or auto)')
    parser.add_argument('--folder', type=Path,
                        help="folder of the libraries (default: mmvit_backbones/ops, or if it is read-only, one in "
                             "torch hub's folder, where libraries are also looked for)")
    arguments = parser.parse_args()
    what = arguments.what or os.environ.get('MMVIT_BUILD_OPS', 'auto')
    folder = arguments.folder or paths['writable_folder']()
    try:
        report = build(what, folder)
    except BuildError as error:
        sys.exit(f'error: {error}')
    for kind, result in report.items():
        print(f'operators ({kind}): {result}' + (f' in {folder}' if result.startswith('built') else ''), flush=True)


if __name__ == '__main__':
    main()
