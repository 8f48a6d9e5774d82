"""Runs training in separate processes, which start quickly because they are forked after the imports."""
import multiprocessing
import os
import resource
import runpy
import signal
import socket
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from helpers import ROOT

import mmvit.cli
from mmvit_backbones.zoo.reading import read_file

TINY = ROOT / 'tests/running/tiny_classifier.py'
# The fork server starts with the first process and finds `preload.py` on PYTHONPATH.
CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(['preload'])
os.environ.pop('PYTHONUNBUFFERED', None)  # most users do not set it
os.environ['PYTHONPATH'] = os.pathsep.join([str(ROOT / 'tests/support'), str(ROOT), os.environ.get('PYTHONPATH', '')])


def in_own_process(function: Callable, *arguments: object) -> None:
    """Calls a function of a test's file in a new process, in which other tests have left no memory and no files."""
    in_processes([partial(_call, function.__code__.co_filename, function.__name__, *arguments)])


def in_two_processes(function: Callable, folder: Path) -> None:
    """Calls a function of a test's file with the ranks and a folder in two processes of a group."""
    in_processes([partial(_call_in_group, function.__code__.co_filename, function.__name__, rank, folder)
                  for rank in range(2)])


def in_processes(calls: list[Callable]) -> None:
    processes = [CONTEXT.Process(target=call) for call in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert not any(process.exitcode for process in processes), 'a process failed; see the traceback'


class Run:
    """Runs a subcommand of `mmvit`, or a script, in a separate process.

    Args:
        log (Path): File for the output of the process.
        *arguments: The subcommand, or the path of the script, and its arguments.
        limits (dict[int, int]): Resource limits by constant, e.g. ``resource.RLIMIT_FSIZE``.
        before (Callable): Function that is called first in the process, e.g. to inject a fault.
    """

    def __init__(self, log: Path, *arguments, limits: dict[int, int] | None = None,
                 before: Callable[[], None] | None = None) -> None:
        self.log = log
        log.touch()
        self.process = CONTEXT.Process(
            target=_run, args=(str(log), [str(argument) for argument in arguments], limits or {}, before))
        self.process.start()

    def wait(self, timeout: float = 100) -> int:
        """Waits for the process and returns its exit code, which is negative after a signal."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f'still running after {timeout} s:\n{self.text[-3000:]}')
        return self.process.exitcode

    def wait_for(self, text: str, timeout: float = 100) -> None:
        end = time.monotonic() + timeout
        while text not in self.text:
            assert time.monotonic() < end and self.process.is_alive(), f'{text!r} not in\n{self.text[-3000:]}'
            time.sleep(0.01)

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    @property
    def text(self) -> str:
        return self.log.read_text()

    @property
    def error(self) -> str:
        """Returns the only error line of the output."""
        line, = (line for line in self.text.splitlines() if line.startswith('error: '))
        assert 'Traceback' not in self.text, self.text
        return line


def train(work_dir: Path, *arguments, config: Path = TINY, **options) -> Run:
    """Starts a training of the tiny classifier; arguments of the form KEY=VALUE are config options."""
    flags = [argument for argument in map(str, arguments) if '=' not in argument or argument.startswith('--')]
    settings = ['randomness.seed=7', *(argument for argument in map(str, arguments) if argument not in flags)]
    number = len(list(work_dir.parent.glob(f'{work_dir.name}*.txt')))
    log = work_dir.parent / f'{work_dir.name}{number}.txt'
    return Run(log, 'train', config, '--work-dir', work_dir, *flags, '--cfg-options', *settings, **options)


def train_together(folder: Path, launcher: str, *arguments) -> list[Run]:
    """Starts `mmvit train` in two processes, whose logs are in a folder."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    return [Run(folder / f'{rank}.txt', 'train', *arguments, '--launcher', launcher,
                before=partial(be_one_of, rank, 2, port, launcher)) for rank in range(2)]


def end(runs: list[Run], code: int = 0) -> None:
    """Waits for the two processes of a training and checks their exit codes."""
    codes = [run.wait(200) for run in runs]
    assert codes == [code, code], [run.text[-2000:] for run in runs]


def be_one_of(rank: int, processes: int, port: int, launcher: str, folder: Path = ROOT, machines: int = 1) -> None:
    """Sets the environment variables that torchrun or Open MPI's mpirun set for each process."""
    os.chdir(folder)
    local = processes // machines
    numbers = dict(RANK=rank, LOCAL_RANK=rank % local, WORLD_SIZE=processes, LOCAL_WORLD_SIZE=local)
    for name, value in numbers.items():
        name = f'OMPI_COMM_WORLD_{name.replace("WORLD_", "")}' if launcher == 'mpi' else name
        os.environ[name] = str(value)
    os.environ['MASTER_PORT'] = str(port)
    if launcher == 'pytorch':
        os.environ['MASTER_ADDR'] = '127.0.0.1'


def use_packages(folder: Path) -> None:
    """Goes to a folder, and lets this process, and those that it starts, import what is in ``packages`` there."""
    os.chdir(folder)
    os.environ['PYTHONPATH'] = str(folder / 'packages')
    sys.path.insert(0, os.environ['PYTHONPATH'])


def get_parser() -> ArgumentParser:
    return ArgumentParser()


def note_threads(folder: Path, cfg) -> None:
    """Notes how many threads a process has, and whether its config's modules are imported; the second one fails."""
    rank = os.environ['RANK']
    noted = os.environ['OMP_NUM_THREADS'], os.environ['MKL_NUM_THREADS'], cfg.launcher, 'printing_hook' in sys.modules
    (folder / rank).write_text(' '.join(map(str, noted)))
    while not all((folder / each).is_file() and (folder / each).read_text() for each in '01'):
        time.sleep(0.1)
    sys.exit(9 * int(rank))


def load_cuda_kernels(path: str) -> None:
    torch.ops.load_library(path)
    assert torch._C._dispatch_has_kernel_for_dispatch_key('mmvit::vsa_sample', 'CUDA')


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_file(path)['state_dict']


def assert_same_weights(path: Path, other: Path) -> None:
    expected, actual = weights(path), weights(other)
    assert expected.keys() == actual.keys()
    different = [key for key in expected if not torch.equal(expected[key], actual[key])]
    assert not different, f'{len(different)} of {len(expected)} tensors differ, the first is {different[0]}'


def _call(file: str, name: str, *arguments: object) -> None:
    runpy.run_path(file)[name](*arguments)


def _call_in_group(file: str, name: str, rank: int, folder: Path) -> None:
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    _call(file, name, rank, folder)


def _run(log: str, arguments: list[str], limits: dict[int, int], before: Callable[[], None] | None) -> None:
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let processes in the background ignore it
    torch.set_num_threads(1)
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    if before is not None:
        before()
    command, *rest = arguments
    try:
        if command.endswith('.py'):
            sys.argv = arguments
            runpy.run_path(command, run_name='__main__')
        else:
            mmvit.cli.main([*command.split(), *rest])
    finally:
        sys.stdout.flush()
