"""`mmvit doctor` reports which parts of the environment work, and why the others don't."""
import sys

import pytest

from mmvit.measuring.doctor import describe_package
from mmvit_backbones.ops import triton


def add_distribution(folder, name: str) -> None:
    info = folder / f'{name.replace("-", "_")}-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')


def test_broken_packages_are_problems(run, frameworks, tmp_path, monkeypatch, capsys):
    """Reports a package that cannot be imported, and two distributions of one package, beside all others.

    The frameworks were imported before, because mmcv reads its version from the distributions.
    """
    for name in [name for name in sys.modules if name.partition('.')[0] == 'mmseg']:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / 'mmseg.py').write_text('import no_such_module')
    for name in 'onedl-mmcv', 'mmcv':
        add_distribution(tmp_path, name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(triton.backend, 'INTERPRETED', False)  # as for users; the interpreter takes minutes
    with pytest.raises(SystemExit) as ended:
        run('doctor')
    assert ended.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    for start in 'mmdet: ', 'mmpretrain: ', 'kernels in Triton: ', 'varied-size window attention, cpp, float32: pass, ':
        assert any(line.startswith(start) for line in lines)
    text = '\n'.join(lines)
    assert "mmseg cannot be imported: ModuleNotFoundError: No module named 'no_" in text
    assert '`pip uninstall mmcv onedl-mmcv`' in text and 'problem(s)' in lines[-1]


@pytest.mark.parametrize('engine, command', [('onedl-mmengine', 'pip install onedl-mmdetection'),
                                             ('mmengine', 'pip install mmdet')])
def test_a_missing_package_is_named_like_the_installed_mmengine(engine, command, tmp_path, monkeypatch):
    add_distribution(tmp_path, engine)
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    assert describe_package('mmdet') == f'mmdet: not installed; {command}'
