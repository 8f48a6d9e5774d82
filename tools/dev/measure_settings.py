"""Measures settings of eager PyTorch on a CPU: forward passes and training steps, relative to the default.

    python tools/dev/measure_settings.py reswin_tiny vitaev2_small restv2_tiny

Each setting has a process of its own; the processes take turns, so run it alone on idle cores. It prints a Markdown
table for docs/benchmarks.md.
"""
import argparse
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch

from mmvit.analysis.runtimes import processor
from mmvit_backbones import get_model
from mmvit_backbones.utils.text import markdown_table

HUGE_PAGES = 'glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=134217728:glibc.malloc.trim_threshold=268435456'
SETTINGS = {
    'default': {},
    "`torch.set_float32_matmul_precision('medium')`": dict(precision='medium'),
    "`torch.autocast('cpu', torch.bfloat16)`": dict(autocast=True),
    '`torch.compile(model)`': dict(compile=True),
    f'huge pages: `export GLIBC_TUNABLES={HUGE_PAGES}`': dict(tunables=HUGE_PAGES),
    'huge pages and `torch.compile(model)`': dict(tunables=HUGE_PAGES, compile=True),
}
SIZE, BATCH, REPEATS, THREADS = 224, 4, 3, 2


def answer(connection: Connection, name: str, precision: str = 'highest', autocast: bool = False,
           compile: bool = False) -> None:
    """Sends the seconds of a forward pass (one image) or a training step (a batch) for each request."""
    torch.set_num_threads(THREADS)
    torch.set_float32_matmul_precision(precision)
    torch.manual_seed(0)
    model = get_model(name, task='classification')
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    images, labels = torch.randn(BATCH, 3, SIZE, SIZE), torch.arange(BATCH)
    run = torch.compile(model) if compile else model

    def forward() -> None:
        model.eval()
        with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            run(images[:1])

    def step() -> None:
        model.train()
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            loss = torch.nn.functional.cross_entropy(run(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    while (request := connection.recv()) is not None:
        start = time.perf_counter()
        dict(forward=forward, step=step)[request]()
        connection.send(time.perf_counter() - start)


@contextmanager
def process(name: str, tunables: str = '', **options: object) -> Iterator[Connection]:
    """Yields the connection to a process that measures a network with one setting."""
    ours, theirs = get_context('spawn').Pipe()
    os.environ.update(GLIBC_TUNABLES=tunables, OMP_WAIT_POLICY='PASSIVE')
    child = get_context('spawn').Process(target=answer, args=(theirs, name), kwargs=options)
    child.start()
    yield ours
    ours.send(None)
    child.join()


def measure(name: str, kind: str, connections: list[Connection]) -> list[list[float]]:
    """Returns the seconds of each process, which take turns."""
    seconds = [[] for _ in connections]
    for number in range(REPEATS + 2):
        for connection, times in zip(connections, seconds):
            connection.send(kind)
            value = connection.recv()
            if number > 1:  # the first compiles, and the second fills the memory
                times.append(value)
    print(name, kind, [round(1000 * statistics.median(times)) for times in seconds], flush=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('networks', nargs='+')
    args = parser.parse_args()
    columns = {}
    for name in args.networks:
        for kind in ('forward', 'step'):
            with ExitStack() as stack:
                connections = [stack.enter_context(process(name, **options)) for options in SETTINGS.values()]
                default, *others = measure(name, kind, connections)
                columns[f'`{name}`, {kind}'] = [f'{1000 * statistics.median(default):.0f} ms'] + [
                    f'{statistics.median(a / b for a, b in zip(times, default)):.2f}' for times in others]
    print(f'{processor()}, {THREADS} threads, torch {torch.__version__}\n')
    print(markdown_table(['setting', *columns], zip(SETTINGS, *columns.values())))


if __name__ == '__main__':
    main()
