"""tools/dev/check_gpu.sh works without a GPU and from another folder."""
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

pytest.importorskip('triton')


def check_gpu(checkout: Path, folder: Path, *arguments: str) -> tuple[int, str]:
    """Runs the script in a folder; returns the exit code, and the report or error message."""
    command = [checkout / 'tools/dev/check_gpu.sh', *arguments, '--device', 'cpu', '--report', 'report.md']
    done = subprocess.run([str(part) for part in command], cwd=folder, env={**os.environ, 'PYTHON': sys.executable},
                          capture_output=True, text=True)
    return done.returncode, (folder / 'report.md').read_text() if done.returncode < 2 else done.stderr


def results_of(report: str) -> dict[str, str]:
    """Returns the result of each part: passed or failed."""
    return dict(re.findall(r'^- (\w+): (\w+)', report, flags=re.MULTILINE))


@pytest.mark.compiler
def test_every_part_runs_on_a_cpu(tmp_path):
    code, report = check_gpu(ROOT, tmp_path)
    assert code == 0, report
    results = results_of(report)
    assert {'kernels', 'networks', 'time', 'windows', 'memory', 'graphs', 'ddp', 'tests'} <= set(results)
    assert set(results.values()) == {'passed'}
    rows = [line.strip('| ').split(' | ') for line in report.splitlines() if line.startswith('| ')]
    assert {('residual attention', dtype) for dtype in ('float32', 'bfloat16')} <= {(*row[:2], ) for row in rows}
    assert {row[1] for row in rows} >= {'kernels', 'references', 'compiled'}


@pytest.mark.compiler
def test_other_parts_run_if_a_part_fails(tmp_path):
    checkout = tmp_path / 'checkout'
    shutil.copytree(ROOT / 'tools/dev', checkout / 'tools/dev')
    for name in ('mmvit_backbones', 'tests'):
        (checkout / name).symlink_to(ROOT / name)
    (checkout / 'tools/dev/benchmark_ops.py').unlink()
    code, report = check_gpu(checkout, tmp_path, 'windows', 'ddp')
    assert code == 1 and results_of(report) == {'windows': 'failed', 'ddp': 'passed'}
    assert 'benchmark_ops.py' in report


def test_unknown_parts_are_refused(tmp_path):
    code, errors = check_gpu(ROOT, tmp_path, 'kernel')
    assert code == 2 and 'kernels' in errors and 'got kernel' in errors


def test_a_part_that_hangs_is_ended(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location('check_gpu', ROOT / 'tools/dev/check_gpu.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'LIMIT_SECONDS', 3)
    with (tmp_path / 'log').open('w') as log:
        assert '3 s' in module.run_commands([['sh', '-c', 'echo $$; sleep 1000']], log)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / 'log').read_text()), 0)
