"""Tests why operators can't be compiled or loaded."""
import os
import shutil
import sys

import pytest
import torch
from helpers import raises

from mmvit_backbones.ops import build, library, paths
from mmvit_backbones.utils import versions


@pytest.mark.parametrize('backend', ['cpp', 'cuda'])
def test_reasons_why_a_library_is_missing(backend, tmp_path, monkeypatch):
    monkeypatch.setattr(library, 'FOLDER', tmp_path)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setitem(library.MISSING, 'cpp', None)
    if backend == 'cuda' and torch.version.cuda is None:
        assert library.load(backend) == 'this torch is built without CUDA'
        return
    if reason := versions.why_not('compiling the operators'):
        assert library.load(backend) == reason
        return
    current = library.library_name(backend, torch.__version__)
    others = [library.library_name(backend, '1.0'), current.replace(f'{torch.__version__}.', f'{torch.__version__}.0')]
    for found in '', f' (found {", ".join(sorted(others))})':
        reason = library.load(backend)
        assert torch.__version__ in reason and found in reason and library.HOW_TO_BUILD in reason
        for name in others:  # for another torch, and of other sources
            (tmp_path / name).touch()
    (tmp_path / current).write_text('no library')
    assert 'cannot be loaded' in library.load(backend)


def test_changed_sources_need_another_library(tmp_path, monkeypatch):
    """As after an upgrade of the package: pip leaves a library that was built later in its folder."""
    before = library.library_name('cpp', '2.11.0')
    shutil.copytree(paths.SOURCES, tmp_path / 'csrc')
    monkeypatch.setattr(paths, 'SOURCES', tmp_path / 'csrc')
    assert library.library_name('cpp', '2.11.0') == before
    with (tmp_path / 'csrc/window.h').open('a', encoding='utf-8') as source:
        source.write('// changed')
    assert library.library_name('cpp', '2.11.0') != before


@pytest.mark.skipif(versions.is_older('2.4'), reason='the operators need PyTorch 2.4')
@pytest.mark.skipif(sys.platform == 'win32', reason='needs a shell')
def test_library_of_a_read_only_package_is_in_a_folder_of_the_user(tmp_path, monkeypatch, capsys):
    """A script stands for a compiler that writes its output file."""
    compiler = tmp_path / 'compiler'
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done; echo no library > "$2"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    for name, value in ('CXX', 'compiler'), ('TORCH_HOME', str(tmp_path / 'home')), ('MMVIT_BUILD_OPS', 'cpp'):
        monkeypatch.setenv(name, value)
    access = os.access  # tests may run as root, who writes everywhere
    monkeypatch.setattr(os, 'access', lambda path, mode: mode != os.W_OK and access(path, mode))
    monkeypatch.setattr(sys, 'argv', ['build'])
    build.main()
    folder = library.user_folder()
    assert tmp_path in folder.parents and str(folder) in capsys.readouterr().out
    monkeypatch.setattr(library, 'FOLDER', tmp_path)
    assert str(folder / library.library_name('cpp', torch.__version__)) in library.load('cpp')


@pytest.mark.skipif(versions.is_older('2.4'), reason='the operators need PyTorch 2.4')
@pytest.mark.parametrize('variable, value', [('CXX', '  '), ('CXX', 'no-compiler')])
def test_wrong_environment_variables_are_named(variable, value, tmp_path, monkeypatch):
    monkeypatch.setenv('CXX', sys.executable)  # no compiler is needed to see that a variable is wrong
    monkeypatch.setenv(variable, value)
    with raises(build.BuildError, variable, value):
        build.build('cpp', tmp_path)


def test_wrong_choice_in_the_environment_is_named(monkeypatch):
    monkeypatch.setenv('MMVIT_BUILD_OPS', 'rocm')
    monkeypatch.setattr(sys, 'argv', ['build'])
    with raises(SystemExit, 'MMVIT_BUILD_OPS', 'rocm', 'cuda'):
        build.main()


@pytest.mark.skipif(torch.version.cuda is None, reason='torch is built without CUDA')
def test_nvcc_missing_in_cuda_home(tmp_path, monkeypatch):
    monkeypatch.setenv('CUDA_HOME', str(tmp_path))
    with raises(build.BuildError, 'nvcc', f'CUDA_HOME={tmp_path}'):
        build.find_nvcc()


KNOWN = ['7.5', '8.0', '8.6', '9.0', '10.0']


def architectures(tmp_path, monkeypatch, text: str) -> list[str]:
    """Returns the architectures for a value of TORCH_CUDA_ARCH_LIST; a script stands for an nvcc."""
    nvcc = tmp_path / 'nvcc'
    nvcc.write_text('#!/bin/sh\n' + ''.join(f'echo compute_{name.replace(".", "")}\n' for name in KNOWN))
    nvcc.chmod(0o755)
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', text)
    return build.architectures_for(str(nvcc))


@pytest.mark.skipif(sys.platform == 'win32', reason='needs a shell')
@pytest.mark.parametrize('text, expected', [
    ('8.0+PTX', ['8.0+PTX']), ('8.0;8.6;', ['8.0', '8.6']), (' 7.5  9.0 ', ['7.5', '9.0']), ('9.0a', ['9.0a']),
    ('8.0;8.6+PTX', ['8.0', '8.6+PTX']), ('8.0 8.0', ['8.0'])])
def test_list_of_architectures_is_read_as_by_torch(text, expected, tmp_path, monkeypatch):
    assert architectures(tmp_path, monkeypatch, text) == expected


@pytest.mark.skipif(sys.platform == 'win32', reason='needs a shell')
def test_by_default_kernels_are_compiled_for_old_and_for_newer_gpus(tmp_path, monkeypatch):
    *others, newest = architectures(tmp_path, monkeypatch, '')
    assert {*others, newest.removesuffix('+PTX')} <= set(KNOWN)
    assert newest.endswith('+PTX') and not [name for name in others if name.endswith('+PTX')]
    if not torch.cuda.is_available():
        assert others[0] == '7.5'


@pytest.mark.skipif(versions.is_older('2.4'), reason='the operators need PyTorch 2.4')
def test_no_installation_fails_because_of_the_operators(tmp_path, monkeypatch):
    """Even if torch is broken."""
    monkeypatch.setenv('CXX', sys.executable)  # which fails as a compiler
    assert build.build_one('cpp', tmp_path).startswith(f'not built: {sys.executable} failed')
    monkeypatch.setattr(torch, 'compiled_with_cxx11_abi', None)
    assert build.build_one('cpp', tmp_path).startswith('not built: ')
