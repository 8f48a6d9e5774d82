"""Runs the notebooks in docs/tutorials; `--save` saves their outputs for the documentation.

Requires nbclient and ipykernel in addition to `make setup`; `make tutorials` installs them and calls this script.
"""
import argparse
import hashlib
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[2]
SECONDS_PER_CELL = 1800
JOBS = 2  # notebooks at a time, with one thread each, which is faster than one with two threads
LONGEST = 'compare', 'detect', 'segment', 'classify'  # started first, so that none runs alone at the end


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', help='names of tutorials (default: all)')
    parser.add_argument('--save', action='store_true', help='keep the outputs in the notebooks')
    args = parser.parse_args()
    paths = sorted((ROOT / 'docs/tutorials').glob('*.ipynb'), key=lambda path: path.stem not in LONGEST)
    path_of = {path.stem: path for path in paths}
    for name in args.names or path_of:
        if name not in path_of:
            parser.error(f'names must be among {", ".join(path_of)}, got {name}')
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    os.environ['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'  # for the command mmvit
    os.environ['NO_COLOR'] = '1'  # otherwise commands in notebooks write color codes
    os.environ.setdefault('PYTHONWARNINGS', 'ignore')  # outputs must not contain warnings of other packages
    with ProcessPoolExecutor(JOBS) as pool:
        for line in pool.map(partial(run, save=args.save), [path_of[name] for name in args.names or path_of]):
            print(line, flush=True)


def run(path, save):
    start = time.monotonic()
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        # With TCP, two kernels that start at the same time could choose the same port.
        ipc = Config(KernelManager=dict(transport='ipc', connection_file=f'{folder}/kernel.json'))
        client = NotebookClient(notebook, timeout=SECONDS_PER_CELL, record_timing=False, coalesce_streams=True,
                                resources={'metadata': {'path': str(ROOT)}}, config=ipc)
        try:
            client.execute()
        except CellExecutionError as error:
            sys.exit(f'{path}: {error}')
    if save:
        for cell in notebook.cells:
            if cell.cell_type == 'code':  # drops messages that frameworks print on import
                cell.outputs = [output for output in cell.outputs if output.get('name') != 'stderr']
                # tests/test_docs.py compares the hash with the cell's code.
                cell.metadata = {'sha256_of_run_code': hashlib.sha256(cell.source.encode()).hexdigest()}
        notebook.metadata = {'kernelspec': notebook.metadata.kernelspec}  # without the version of Python
        nbformat.write(notebook, path)
    return f'{path.stem}: {time.monotonic() - start:.0f} s'


if __name__ == '__main__':
    main()
