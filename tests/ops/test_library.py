"""Tests why the compiled operators can't be loaded."""
import pytest
import torch

from mmvit_backbones.ops import library
from mmvit_backbones.utils import versions


@pytest.mark.parametrize('backend', ['cpp', 'cuda'])
def test_reasons_why_a_library_is_missing(backend, tmp_path, monkeypatch):
    monkeypatch.setattr(library, 'FOLDER', tmp_path)
    monkeypatch.setitem(library.MISSING, 'cpp', None)
    if backend == 'cuda' and torch.version.cuda is None:
        assert library.load(backend) == 'this torch is built without CUDA'
        return
    if reason := versions.why_not('compiling the operators'):
        assert library.load(backend) == reason
        return
    assert library.load(backend) == f'not built for torch {torch.__version__}; {library.HOW_TO_BUILD}'
    other = library.library_name(backend, '1.0')
    (tmp_path / other).touch()
    assert f'not built for torch {torch.__version__} (found {other})' in library.load(backend)
    (tmp_path / library.library_name(backend, torch.__version__)).write_text('no library')
    assert 'cannot be loaded' in library.load(backend)


@pytest.mark.skipif(torch.version.cuda is None, reason='this torch is built without CUDA')
def test_cuda_kernels_require_the_cpp_library(monkeypatch):
    monkeypatch.setitem(library.MISSING, 'cpp', 'the reason')
    assert library.load('cuda') == 'the reason'


def test_cuda_kernels_are_missing_without_their_file():
    if not (library.FOLDER / library.library_name('cuda', torch.__version__)).exists():
        assert library.MISSING['cuda']
