"""`mmvit doctor` reports which parts of the environment work, and why the others don't."""
import sys

import pytest
import torch

from mmvit.measuring import doctor
from mmvit_backbones.ops import library
from mmvit_backbones.ops.dispatch import OPERATORS
from mmvit_backbones.utils.installation import find_conflicts


def add_distribution(folder, name: str) -> None:
    info = folder / f'{name.replace("-", "_")}-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')


def test_broken_packages_are_problems(run, frameworks, tmp_path, monkeypatch, capsys):
    """Reports a package that cannot be imported, and two distributions of one package, beside all others.

    The frameworks were imported before, because mmcv reads its version from the distributions.
    """
    monkeypatch.setattr(doctor, 'LIMITS', {torch.float32: doctor.LIMITS[torch.float32]})
    for name in [name for name in sys.modules if name.partition('.')[0] == 'mmseg']:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / 'mmseg.py').write_text('import no_such_module')
    for name in 'onedl-mmcv', 'mmcv':
        add_distribution(tmp_path, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run('doctor')
    assert ended.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    compiled = [] if library.MISSING['cpp'] else ['vitaev2_vsa_small in float32 deviates by ']
    for start in ['mmdet: ', 'mmpretrain: ', 'kernels in Triton: ', *compiled]:
        assert any(line.startswith(start) for line in lines)
    text = '\n'.join(lines)
    assert "mmseg does not work: ModuleNotFoundError: No module named 'no_" in text
    assert '`pip uninstall mmcv onedl-mmcv`' in text and 'problem(s)' in lines[-1]


def test_distributions_in_two_folders_are_no_conflict(tmp_path):
    """As where a folder on the path has an mmcv of its own."""
    folders = [tmp_path / name for name in ('mmcv', 'onedl-mmcv')]
    for folder in folders:
        folder.mkdir()
        add_distribution(folder, folder.name)
    assert not find_conflicts(path=[str(folder) for folder in folders])


class Double(torch.autograd.Function):
    """Returns its input, whose gradient it doubles."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def fail(**arguments):
    raise RuntimeError('out of resource')


@pytest.mark.skipif(library.MISSING['cpp'] is not None, reason='the C++ backend is not built')
@pytest.mark.parametrize('change', [
    lambda run, q, **arguments: 1.5 * run(q=q, **arguments), lambda run, q, **arguments: run(q=q, **arguments) / 0 * 0,
    lambda run, **arguments: fail(), *(
        lambda run, argument=argument, **arguments: run(**{**arguments, argument: Double.apply(arguments[argument])})
        for argument in ('q', 'bias_table'))])
def test_wrong_kernels_are_problems(change, monkeypatch):
    """Wrong results, NaN, an error, and the wrong gradient of one argument."""
    kernels = OPERATORS['varied-size window attention'].kernels
    run = kernels['cpp'].run
    monkeypatch.setattr(doctor, 'NETWORKS', ('vitaev2_vsa_small', ))
    monkeypatch.setattr(doctor, 'LIMITS', {torch.float32: doctor.LIMITS[torch.float32]})
    monkeypatch.setitem(kernels, 'cpp', kernels['cpp']._replace(run=lambda **arguments: change(run, **arguments)))
    _, wrong = doctor.check_kernels(torch.device('cpu'))
    assert any(line.startswith('vitaev2_vsa_small in float32 ') for line in wrong)


@pytest.mark.parametrize('engine, command', [('onedl-mmengine', 'pip install onedl-mmdetection'),
                                             ('mmengine', 'pip install mmdet')])
def test_a_missing_package_is_named_like_the_installed_mmengine(engine, command, tmp_path, monkeypatch):
    add_distribution(tmp_path, engine)
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    assert doctor.check_package('mmdet') == (f'mmdet: not installed; {command}', None)
