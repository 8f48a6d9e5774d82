"""Contents, platform and requirements of the wheel and sdist, and the import without MMEngine."""
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from email.parser import Parser

import pytest
from helpers import ROOT

from mmvit_backbones.utils import versions

pytestmark = [pytest.mark.slow, pytest.mark.workflow]  # builds wheels


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """Returns a copy of the checkout, in which no other process builds."""
    folder = tmp_path_factory.mktemp('checkout')
    for name in ('mmvit', 'mmvit_backbones', 'configs', 'tools', 'tests', 'requirements'):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns('*.so', '__pycache__', 'goldens'))
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    return folder


def build_wheel(source, folder, **env):
    options = ['--quiet', '--no-deps', '--no-build-isolation', '--wheel-dir', folder]
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', *options, source], check=True, env={**os.environ, **env})
    path, = folder.glob('*.whl')
    return path


@pytest.fixture(scope='module')
def sdist(checkout, tmp_path_factory):
    folder = tmp_path_factory.mktemp('sdist')
    build = 'import setuptools.build_meta as build, sys; build.build_sdist(sys.argv[1])'
    subprocess.run([sys.executable, '-c', build, folder], check=True, cwd=checkout, stdout=subprocess.DEVNULL)
    path, = folder.glob('*.tar.gz')
    return path


@pytest.fixture(scope='module')
def wheel(sdist, tmp_path_factory):
    """Returns the opened wheel that is built from the sdist."""
    path = build_wheel(sdist, tmp_path_factory.mktemp('wheel'), MMVIT_BUILD_OPS='0')  # compiling takes long
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_sdist_contains_what_the_wheel_is_built_from_and_no_more(sdist, wheel):
    built = {name.removeprefix('mmvit_backbones/.mim/') for name in wheel.namelist()}
    with tarfile.open(sdist) as archive:
        names = {member.name.partition('/')[2] for member in archive.getmembers() if member.isfile()}
    others = {name for name in names - built if not name.startswith('mmvit_backbones.egg-info/')}
    assert others == {'CHANGELOG.md', 'LICENSE', 'MANIFEST.in', 'NOTICE', 'PKG-INFO', 'README.md', 'pyproject.toml',
                      'setup.cfg', 'setup.py'}


def test_wheel_contains_the_files_for_mim(wheel):
    names = {name.removeprefix('mmvit_backbones/.mim/') for name in wheel.namelist() if '/.mim/' in name}
    expected = [*ROOT.glob('configs/*.py'), *ROOT.glob('configs/_base_/**/*.py'), *ROOT.glob('configs/metafiles/*.yml'),
                *ROOT.glob('tools/*.sh'), *(ROOT / f'tools/{name}.py' for name in ('train', 'test'))]
    assert {str(path.relative_to(ROOT)) for path in expected} | {'model-index.yml'} <= names
    counts = Counter(name.split('/')[-1] for name in names if name.startswith('configs/'))
    assert all(counts[path.name] == 1 for path in ROOT.glob('configs/*.py'))  # mim finds configs by file name
    assert not [name for name in names if name.startswith(('tools/dev', 'tools/demo'))]
    assert {name.split('/')[0].split('-')[0] for name in wheel.namelist()} == {'mmvit_backbones', 'mmvit'}


def test_wheel_contains_the_command(wheel):
    names = set(wheel.namelist())
    assert {'mmvit/__init__.py', 'mmvit/cli/draw/attention.py', 'mmvit/running/runner.py'} <= names
    assert 'mmvit_backbones/py.typed' in names  # without it, type checkers ignore annotations
    scripts, = (name for name in names if name.endswith('entry_points.txt'))
    assert 'mmvit = mmvit.cli:main' in wheel.read(scripts).decode()


def test_wheel_contains_the_sources_of_the_operators(wheel):
    sources = {f'mmvit_backbones/ops/csrc/{file.name}' for file in (ROOT / 'mmvit_backbones/ops/csrc').iterdir()}
    assert sources <= set(wheel.namelist())
    assert wheel.filename.endswith('py3-none-any.whl') and not [n for n in wheel.namelist() if n.endswith('.so')]


@pytest.mark.skipif(versions.is_older('2.4'), reason='the operators need PyTorch 2.4')
@pytest.mark.parametrize('compiles', [True, False])
def test_only_a_wheel_with_operators_is_for_one_platform(checkout, tmp_path, compiles):
    """A script stands for a compiler that writes its output file, or fails. Files of earlier builds are left out."""
    for stale in 'mmvit/deleted.py', 'mmvit_backbones/ops/libmmvit_ops.torch1.0.so':
        file = checkout / 'build/lib' / stale
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    compiler = tmp_path / 'compiler'
    writes = 'while [ "$1" != -o ]; do shift; done; : > "$2"'
    compiler.write_text(f'#!/bin/sh\n{writes if compiles else "exit 1"}\n')
    compiler.chmod(0o755)
    path = build_wheel(checkout, tmp_path, MMVIT_BUILD_OPS='auto', CXX='compiler', CUDA_HOME=str(tmp_path / 'none'),
                       PATH=f'{tmp_path}:{os.environ["PATH"]}')
    with zipfile.ZipFile(path) as archive:
        has_library = any(name.endswith('.so') for name in archive.namelist())
        assert not [name for name in archive.namelist() if 'deleted' in name or 'torch1.0' in name]
        details, = (archive.read(name).decode() for name in archive.namelist() if name.endswith('.dist-info/WHEEL'))
    assert '-py3-none-' in path.name
    is_pure = Parser().parsestr(details)['Root-Is-Purelib'] == 'true'
    assert (has_library, path.name.endswith('-any.whl'), is_pure) == (compiles, not compiles, not compiles)


def test_build_without_torch_reports_missing_operators():
    """pip's isolated build environment has no torch, so the package is installed without compiled operators."""
    script = ('import runpy, sys; sys.modules["torch"] = None; '
              'print(runpy.run_path("mmvit_backbones/ops/build.py")["build"]("auto", None))')
    done = subprocess.run([sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count('not built: torch is not installed') == 2


def test_wheel_requires_only_torch(wheel):
    metadata, = (name for name in wheel.namelist() if name.endswith('.dist-info/METADATA'))
    required = Parser().parsestr(wheel.read(metadata).decode()).get_all('Requires-Dist')
    assert [line for line in required if 'extra ==' not in line] == ['torch>=2.1.2', 'filelock>=4', 'pillow']
    for extra, name in (('openmmlab', 'mmengine'), ('onedl', 'onedl-mmengine')):
        assert any(line.startswith(name) and f"extra == '{extra}'" in line.replace('"', "'") for line in required)
    forks = [line for line in required if line.startswith('onedl')]
    assert len(forks) == 5 and all("extra == 'onedl'" in line.replace('"', "'") for line in forks)


def test_import_without_mmengine_names_the_commands_to_install_it():
    code = 'import sys; sys.modules["mmengine"] = None; import mmvit_backbones'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    error = done.stderr.splitlines()[-1]
    assert error.startswith('ModuleNotFoundError: ') and '`pip install mmengine`' in error and 'onedl-mmengine' in error
    assert done.stderr.count('Traceback') == 1


@pytest.mark.parametrize('arguments', [['models'], ['train', 'reswin_tiny', '--cfg-options', 'a=1']])
def test_command_without_mmengine_names_the_commands_to_install_it(arguments):
    code = f'import sys; sys.modules["mmengine"] = None; import mmvit.cli; mmvit.cli.main({arguments})'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    error, = done.stderr.splitlines()
    assert done.returncode == 1 and error.startswith('error: ')
    assert '`pip install mmengine`' in error and 'onedl-mmengine' in error
