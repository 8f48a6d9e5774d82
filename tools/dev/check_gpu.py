"""Checks and benchmarks operators and backbones on a GPU, and writes a Markdown report for docs/benchmarks.md.

    tools/dev/check_gpu.sh                                    all parts; they have not run on a GPU yet
    tools/dev/check_gpu.sh kernels networks --report FILE     some parts, appended to the report
    tools/dev/check_gpu.sh --device cpu                       all parts without a GPU, on tiny inputs

Parts that take longer than nine minutes are stopped. Each part adds its result to the report when it ends. If a part
fails, the others still run, and the exit code is 1. The end of the report lists the results of all parts. The script
requires torch, Triton, MMEngine and pytest, but not OpenMMLab. It uses nvcc and compute-sanitizer if they are
installed. It can be started from any folder. The environment variable PYTHON selects the interpreter.
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
LIMIT_SECONDS = 540  # per part
TAIL = 30  # number of output lines to report for parts that fail or print no table

OPERATORS = ['tools/dev/benchmark_ops.py']
NETWORKS = ['tools/dev/check_networks.py']
PYTEST = ['-W', 'ignore', '-m', 'pytest', '-c', os.devnull, '--rootdir', str(ROOT), '-q', '-W', 'ignore', '-p',
          'no:cacheprovider', '-o', f'pythonpath={ROOT}/tests {ROOT}/tests/goldens']
TINY_NETWORK = ['--device', 'cpu', '--size', '32', '--batch-size', '2', '--repeats', '1']
DOCTOR = ['-m', 'mmvit', 'doctor']
SANITIZED = ['-c', """
import os, sys, torch
os.environ.pop('TRITON_INTERPRET')  # which is slow
from mmvit_backbones.ops import dispatch
from mmvit.analysis import self_check
from mmvit_backbones import zoo  # registers all operators
rows = self_check.measure(dispatch.OPERATORS.values(), torch.device(sys.argv[1]), ['toy'])
print(self_check.table(rows))
sys.exit(bool(self_check.wrong_kernels(rows)))
"""]


class Part(NamedTuple):
    title: str
    on_gpu: list[list[str]]  # commands without the interpreter
    on_cpu: list[list[str]]
    tool: list[str] = []  # wraps the commands on a GPU; if it is not installed, the part is skipped


def what_to_build() -> str:
    """Returns ``'cuda'`` if an nvcc for the installed torch is found, else ``'cpp'``."""
    builder = runpy.run_path(str(ROOT / 'mmvit_backbones/ops/build.py'))
    try:
        builder['find_nvcc']()
    except builder['BuildError']:
        return 'cpp'
    return 'cuda'


# The most important parts come first.
PARTS: dict[str, Part] = {
    'kernels': Part(
        'Kernels compared with plain PyTorch: time and deviation, forward and backward',
        [['-m', 'mmvit_backbones.ops.build', what_to_build()], DOCTOR],
        [['-m', 'mmvit_backbones.ops.build', '0'], DOCTOR]),
    'networks': Part(
        'Backbones compared with float32 on the CPU',
        [[*NETWORKS, 'agreement']],
        [[*NETWORKS, 'agreement', 'rest_lite', *TINY_NETWORK]]),
    'time': Part(
        'Time of a training step under bfloat16 autocast',
        [[*NETWORKS, 'time', '--ways', 'kernels', 'references'], [*NETWORKS, 'time', '--ways', 'kernels', 'compiled']],
        [[*NETWORKS, 'time', 'rest_lite', *TINY_NETWORK]]),
    'windows': Part(
        'Varied-size windows compared with grid_sample',
        [[*OPERATORS, '--device', 'cuda']],
        [[*OPERATORS, '--device', 'cpu', '--shapes', 'tiny', '--stages', '1', '--dtypes', 'bfloat16',
          '--seconds', '1e-6']]),
    'memory': Part(
        'Memory of a training step under bfloat16 autocast: 64 images of 224 x 224, then 2 of 800 x 1333',
        [[*NETWORKS, 'memory'], [*NETWORKS, 'memory', '--size', '800', '1333', '--batch-size', '2']],
        [[*NETWORKS, 'memory', 'rest_lite', *TINY_NETWORK]]),
    'graphs': Part(
        'CUDA graphs compared with eager mode',
        [[*NETWORKS, 'graphs']],
        [[*NETWORKS, 'graphs', 'rest_lite', *TINY_NETWORK]]),
    'ddp': Part(
        'DistributedDataParallel compared with one process',
        [[*NETWORKS, 'ddp', 'reswin_tiny', 'vitaev2_vsa_small']],
        [[*NETWORKS, 'ddp', 'rest_lite', *TINY_NETWORK]]),
    'tests': Part(
        'Tests of the operators: goldens, gradcheck, dtypes, strides, random shapes',
        [[*PYTEST, 'tests/ops/test_varied_size_window.py', 'tests/ops/test_varied_size_window_triton.py',
          'tests/ops/test_triton.py', '-k', 'cuda or triton']],
        [[*PYTEST, 'tests/ops/test_varied_size_window.py', 'tests/ops/test_varied_size_window_triton.py',
          'tests/ops/test_triton.py', '-k', 'golden and not triton or request_that_cannot_run']]),
    'memcheck': Part(
        'Memory errors found by compute-sanitizer',
        [[*SANITIZED, 'cuda']], [[*SANITIZED, 'cpu']],
        ['compute-sanitizer', '--tool', 'memcheck', '--error-exitcode', '9']),
    'racecheck': Part(
        'Race conditions found by compute-sanitizer',
        [[*SANITIZED, 'cuda']], [[*SANITIZED, 'cpu']],
        ['compute-sanitizer', '--tool', 'racecheck', '--error-exitcode', '9']),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     prog='check_gpu.sh')
    parser.add_argument('parts', nargs='*', metavar='PART', help=f'default: all; {", ".join(PARTS)}')
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda')
    parser.add_argument('--report', type=Path, help='Markdown file; with PART, results are appended to it; '
                        'default: docs/gpu_report.md, or build/gpu_report_cpu.md with --device cpu')
    args = parser.parse_args()
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f'PART must be one of {", ".join(PARTS)}, got {", ".join(unknown)}')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda requires a GPU, but torch finds none; use --device cpu to test the script')
    default = ROOT / ('docs/gpu_report.md' if args.device == 'cuda' else 'build/gpu_report_cpu.md')
    args.report = (args.report or default).resolve()
    return args


def main() -> None:
    args = parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops the current part and reports its output
    os.chdir(ROOT)
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    os.environ['PYTHONUNBUFFERED'] = '1'
    os.environ.pop('PYTHONDONTWRITEBYTECODE', None)  # cached bytecode makes each part start faster
    os.environ.setdefault('FUZZ_FACTOR', '2' if args.device == 'cuda' else '1')
    os.environ['TRITON_INTERPRET'] = str(int(args.device == 'cpu'))
    if args.device == 'cuda':  # the interpreter would be too slow for networks
        os.environ['MMVIT_KERNELS'] = 'triton'
    args.report.parent.mkdir(parents=True, exist_ok=True)
    if not args.parts:
        args.report.unlink(missing_ok=True)
    write(args.report, f'### {describe(args.device)}\n')
    results = {name: run(PARTS[name], args) for name in args.parts or PARTS}
    write(args.report, '#### Result\n\n' + ''.join(f'- {name}: {result}\n' for name, result in results.items()))
    if any(result.startswith('failed') for result in results.values()):
        sys.exit(1)


def write(report: Path, text: str) -> None:
    """Prints a paragraph and appends it to the report."""
    print(text, flush=True)
    with report.open('a') as file:
        file.write(text + '\n')


def describe(device: str) -> str:
    name = torch.cuda.get_device_name() if device == 'cuda' else 'CPU (test of the script)'
    return f'{name}, {date.today()}: Python {platform.python_version()}, torch {torch.__version__}'


def run(part: Part, args: argparse.Namespace) -> str:
    """Runs a part and writes its section of the report; returns its result, which begins with 'failed' on failure."""
    commands, start = part.on_gpu if args.device == 'cuda' else part.on_cpu, time.monotonic()
    commands = [[sys.executable, *command] for command in commands]
    if part.tool and args.device == 'cuda':
        if not shutil.which(part.tool[0]):
            write(args.report, f'#### {part.title}\n\nSkipped: {part.tool[0]} is not installed.\n')
            return f'skipped, {part.tool[0]} is not installed'
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
    """Runs commands one after another within the time limit of a part; returns the failure, or '' on success."""
    end = time.monotonic() + LIMIT_SECONDS
    for command in commands:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   start_new_session=True)
        try:
            status = process.wait(max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            return f'stopped after {LIMIT_SECONDS} s'
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # includes its child processes
            process.wait()
        if status:
            return f'exit status {status}'
    return ''


def layout(text: str, fault: str) -> str:
    """Returns the tables in a part's output; if it failed or printed no tables, also the last lines of other output."""
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
