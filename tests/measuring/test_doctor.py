"""`mmvit doctor` reports which parts of the environment work, and why the others don't."""
import os
import subprocess
import sys

import pytest

from mmvit.measuring.doctor import describe_package


def add_distribution(folder, name: str) -> None:
    info = folder / f'{name.replace("-", "_")}-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')


@pytest.mark.slow
def test_broken_packages_are_problems(tmp_path):
    """Reports a package that cannot be imported, and two distributions of one package, beside all others."""
    (tmp_path / 'mmseg.py').write_text('import no_such_module')
    for name in 'onedl-mmcv', 'mmcv':
        add_distribution(tmp_path, name)
    found = subprocess.run([sys.executable, '-m', 'mmvit', 'doctor'], capture_output=True, text=True,
                           env={**os.environ, 'PYTHONPATH': str(tmp_path), 'TRITON_INTERPRET': '0'})
    assert found.returncode == 1
    lines = found.stdout.splitlines()
    for start in 'mmdet: ', 'mmpretrain: ', 'kernels in Triton: ', '| varied-size window attention | float32 | ':
        assert any(line.startswith(start) for line in lines)
    assert "mmseg cannot be imported: ModuleNotFoundError: No module named 'no_" in found.stdout
    assert '`pip uninstall mmcv onedl-mmcv`' in found.stdout and 'problem(s)' in lines[-1]


@pytest.mark.parametrize('engine, command', [('onedl-mmengine', 'pip install onedl-mmdetection'),
                                             ('mmengine', 'pip install mmdet')])
def test_a_missing_package_is_named_like_the_installed_mmengine(engine, command, tmp_path, monkeypatch):
    add_distribution(tmp_path, engine)
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    assert describe_package('mmdet') == f'mmdet: not installed; {command}'
