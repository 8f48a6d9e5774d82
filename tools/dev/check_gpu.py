"""Checks operators and backbones on a GPU and measures them; writes a report in Markdown that docs/benchmarks.md shows.

    tools/dev/check_gpu.sh                                    every part; never run on a GPU so far
    tools/dev/check_gpu.sh kernels networks --report FILE     some parts, appended to FILE
    tools/dev/check_gpu.sh --device cpu                       tries every part without a GPU, on tiny inputs

Each part writes its result when it ends, and takes at most nine minutes. A part that fails is told at the end, and the
others run nevertheless; the exit code is 1. Needs torch, Triton, MMEngine and pytest, not OpenMMLab; nvcc and
compute-sanitizer where they are there. Works from any folder; PYTHON names the interpreter.
"""
import argparse
import os
import platform
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 540  # of a part
TAIL = 30  # lines of a part that prints no table, or that fails

OPERATORS = ['tools/dev/benchmark_ops.py']
NETWORKS = ['tools/dev/check_networks.py']
PYTEST = ['-W', 'ignore', '-m', 'pytest', '-c', os.devnull, '--rootdir', str(ROOT), '-q', '-W', 'ignore', '-p',
          'no:cacheprovider', '-o', f'pythonpath={ROOT}/tests {ROOT}/tests/goldens']
TINY_NETWORK = ['--device', 'cpu', '--size', '32', '--batch-size', '2', '--repeats', '1']
SANITIZED = [*OPERATORS, 'agreement', '--tiny']


class Part(NamedTuple):
    title: str
    on_gpu: list[list[str]]  # arguments of Python
    on_cpu: list[list[str]]
    tool: list[str] = []  # what runs Python on a GPU; the part is left out if it is not installed


def what_to_build() -> str:
    """Returns ``'cuda'`` if there is nvcc for this torch, else ``'cpp'``."""
    builder = runpy.run_path(str(ROOT / 'mmvit_backbones/ops/build.py'))
    try:
        builder['find_nvcc']()
    except builder['BuildError']:
        return 'cpp'
    return 'cuda'


# In the order of what one wants to know first. A GPU's C++ library is built for the schemas of the CUDA library.
PARTS: dict[str, Part] = {
    'build': Part(
        'Build of the compiled operators',
        [['-m', 'mmvit_backbones.ops.build', what_to_build()]],
        [['-m', 'mmvit_backbones.ops.build', '0']]),
    'kernels': Part(
        'Kernels against their formulas, forward and backward',
        [[*OPERATORS, 'agreement', '--device', 'cuda']],
        [[*OPERATORS, 'agreement', '--device', 'cpu', '--tiny']]),
    'networks': Part(
        'Backbones against float32 on the CPU',
        [[*NETWORKS, 'agreement']],
        [[*NETWORKS, 'agreement', 'rest_lite', *TINY_NETWORK]]),
    'time': Part(
        'Time of a training step, autocast in bfloat16',
        [[*NETWORKS, 'time', '--ways', 'kernels', 'formulas'], [*NETWORKS, 'time', '--ways', 'kernels', 'compiled']],
        [[*NETWORKS, 'time', 'rest_lite', *TINY_NETWORK]]),
    'windows': Part(
        'Varied-size windows against grid_sample',
        [[*OPERATORS, 'time', '--device', 'cuda']],
        [[*OPERATORS, 'time', '--device', 'cpu', '--shapes', 'tiny', '--stages', '1', '--dtypes', 'bfloat16',
          '--seconds', '1e-6']]),
    'memory': Part(
        'Memory of a training step, autocast in bfloat16: 64 images of 224 x 224, then 2 of 800 x 1333',
        [[*NETWORKS, 'memory'], [*NETWORKS, 'memory', '--size', '800', '1333', '--batch-size', '2']],
        [[*NETWORKS, 'memory', 'rest_lite', *TINY_NETWORK]]),
    'graphs': Part(
        'CUDA graphs against eager',
        [[*NETWORKS, 'graphs']],
        [[*NETWORKS, 'graphs', 'rest_lite', *TINY_NETWORK]]),
    'ddp': Part(
        'DistributedDataParallel against one process',
        [[*NETWORKS, 'ddp', 'reswin_tiny', 'vitaev2_vsa_small']],
        [[*NETWORKS, 'ddp', 'rest_lite', *TINY_NETWORK]]),
    'tests': Part(
        'Tests of the operators: goldens, gradcheck, dtypes, strides, random shapes',
        [[*PYTEST, 'tests/ops/test_varied_size_window.py', 'tests/ops/test_varied_size_window_triton.py',
          'tests/ops/test_triton.py', '-k', 'cuda or triton']],
        [[*PYTEST, 'tests/ops/test_varied_size_window.py', 'tests/ops/test_varied_size_window_triton.py',
          'tests/ops/test_triton.py', '-k', 'golden and not triton or request_that_cannot_run']]),
    'memcheck': Part(
        'Kernels under compute-sanitizer: memory',
        [[*SANITIZED, '--device', 'cuda']], [[*SANITIZED, '--device', 'cpu', '--backends', 'cpp']],
        ['compute-sanitizer', '--tool', 'memcheck', '--error-exitcode', '9']),
    'racecheck': Part(
        'Kernels under compute-sanitizer: races',
        [[*SANITIZED, '--device', 'cuda']], [[*SANITIZED, '--device', 'cpu', '--backends', 'cpp']],
        ['compute-sanitizer', '--tool', 'racecheck', '--error-exitcode', '9']),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     prog='check_gpu.sh')
    parser.add_argument('parts', nargs='*', metavar='PART', help=f'default: all; {", ".join(PARTS)}')
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda')
    parser.add_argument('--report', type=Path, help='a Markdown file, to which the results of PART are appended; '
                        'default: docs/gpu_report.md, on a CPU build/gpu_report_cpu.md')
    args = parser.parse_args()
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f'PART must be one of {", ".join(PARTS)}, got {", ".join(unknown)}')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda needs a GPU, and torch sees none; --device cpu tries the script')
    default = ROOT / ('docs/gpu_report.md' if args.device == 'cuda' else 'build/gpu_report_cpu.md')
    args.report = (args.report or default).resolve()
    return args


def main() -> None:
    args = parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the part that runs, and writes what it printed
    os.chdir(ROOT)
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    os.environ['PYTHONUNBUFFERED'] = '1'
    os.environ.pop('PYTHONDONTWRITEBYTECODE', None)  # each part would compile again what it imports
    os.environ.setdefault('FUZZ_FACTOR', '2' if args.device == 'cuda' else '1')
    os.environ['TRITON_INTERPRET'] = str(int(args.device == 'cpu'))
    args.report.parent.mkdir(parents=True, exist_ok=True)
    if not args.parts:
        args.report.unlink(missing_ok=True)
    write(args.report, f'### {describe(args.device)}\n')
    results = {name: run(PARTS[name], args) for name in args.parts or PARTS}
    write(args.report, '#### Result\n\n' + ''.join(f'- {name}: {result}\n' for name, result in results.items()))
    if any(result.startswith('failed') for result in results.values()):
        sys.exit(1)


def write(report: Path, text: str) -> None:
    """Appends a paragraph to the report, and prints it."""
    print(text, flush=True)
    with report.open('a') as file:
        file.write(text + '\n')


def describe(device: str) -> str:
    name = torch.cuda.get_device_name() if device == 'cuda' else 'CPU, to try the script'
    return f'{name}, {date.today()}: Python {platform.python_version()}, torch {torch.__version__}'


def run(part: Part, args: argparse.Namespace) -> str:
    """Runs a part and writes its section; returns the last line of that, which begins with 'failed' if it has."""
    commands, start = part.on_gpu if args.device == 'cuda' else part.on_cpu, time.monotonic()
    commands = [[sys.executable, *command] for command in commands]
    if part.tool and args.device == 'cuda':
        if not shutil.which(part.tool[0]):
            write(args.report, f'#### {part.title}\n\nLeft out: {part.tool[0]} is not installed.\n')
            return f'left out, {part.tool[0]} is not installed'
        commands = [[*part.tool, *command] for command in commands]
    with tempfile.TemporaryFile('w+') as log:
        fault = 'interrupted'
        try:
            fault = run_commands(commands, log)
        finally:
            log.seek(0)
            result = (f'failed: {fault}' if fault else 'passed') + f', {time.monotonic() - start:.0f} s'
            write(args.report, f'#### {part.title}\n\n{layout(log.read(), fault)}\n{result.capitalize()}\n')
    return result


def run_commands(commands: list[list[str]], log) -> str:
    """Runs commands one after another within the time of a part; returns what went wrong, or ''."""
    end = time.monotonic() + LIMIT_SECONDS
    for command in commands:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   start_new_session=True)
        try:
            status = process.wait(max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            return f'ended after {LIMIT_SECONDS} s'
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started, too
            process.wait()
        if status:
            return f'exit status {status}'
    return ''


def layout(text: str, fault: str) -> str:
    """Returns the tables of a part in Markdown, and the end of what else it printed if that is needed."""
    lines = text.splitlines()
    table = [line for line in lines if line.startswith('|')]
    rest = [line for line in lines if not line.startswith('|')]
    found = ''.join(f'{line}\n' for line in table)
    if rest and (fault or not table):
        found += '\n```\n' + ''.join(f'{line}\n' for line in rest[-TAIL:]) + '```\n'
    return found


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('interrupted')
