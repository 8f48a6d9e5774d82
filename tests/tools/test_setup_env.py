"""Errors of the setup are one line with advice; tested in a copy of this checkout."""
import os
import runpy
import shutil
import subprocess
import sys
import time
from importlib.metadata import metadata

import psutil
import pytest
from helpers import ROOT
from packaging.specifiers import SpecifierSet
from pins import PYTHONS, pins_for


@pytest.fixture
def checkout(tmp_path):
    """Copies the files that tools/dev/setup_env.py reads into a folder with a space in its name."""
    checkout = tmp_path / 'a checkout'
    shutil.copytree(ROOT / 'requirements', checkout / 'requirements')
    (checkout / 'tools/dev').mkdir(parents=True)
    shutil.copy(ROOT / 'tools/dev/setup_env.py', checkout / 'tools/dev')
    return checkout


def set_up(checkout, **env):
    env = {'XDG_CACHE_HOME': str(checkout / 'cache'), 'PATH': os.environ['PATH'], 'PIP_CONFIG_FILE': os.devnull, **env}
    program = f"""
import runpy
setup_env = runpy.run_path({str(checkout / 'tools/dev/setup_env.py')!r})
setup_env['main'].__globals__['DISK_GB'] = 0  # the test downloads nothing
setup_env['main']()
"""
    command = [sys.executable, '-c', program]
    result = subprocess.run(command, env=env, capture_output=True, text=True)
    assert result.returncode == 1 and result.stderr.startswith('setup: ') and result.stderr.count('\n') == 1
    return result.stderr


def test_no_compiler(checkout):
    assert 'install g++' in set_up(checkout, PATH=str(checkout))


def test_unknown_kind_of_openmmlab(checkout):
    assert "['forks', 'upstream']" in set_up(checkout, MMVIT_OPENMMLAB='mine')


@pytest.mark.slow
def test_index_that_does_not_respond(checkout):
    assert 'PIP_INDEX_URL' in set_up(checkout, PIP_INDEX_URL='http://127.0.0.1:9/simple', PIP_RETRIES='0')


def test_wheels_are_in_the_checkout_if_the_cache_is_read_only(checkout, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', os.devnull)
    setup_env = runpy.run_path(str(checkout / 'tools/dev/setup_env.py'))
    assert setup_env['choose_cache']() == checkout / 'build/wheels'


def test_two_clones_compile_one_after_the_other(checkout, tmp_path):
    folder = tmp_path / 'cache/mmcv'
    program = f"""
import runpy, time
from pathlib import Path
setup_env = runpy.run_path({str(checkout / 'tools/dev/setup_env.py')!r})
folder = Path({str(folder)!r})
with setup_env['locked'](folder):
    if not folder.exists():
        time.sleep(1)
        folder.mkdir()  # fails if another process has created it in the meantime
"""
    processes = [subprocess.Popen([sys.executable, '-c', program]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]


def test_an_interrupted_setup_ends_its_processes(checkout):
    """A compiler that pip started could otherwise still write into the folder that the next setup uses."""
    program = f"""
import runpy
setup_env = runpy.run_path({str(checkout / 'tools/dev/setup_env.py')!r})
setup_env['VENV'].mkdir()
setup_env['main'].__globals__['set_up'] = lambda: setup_env['run']('sh', '-c', 'sleep 600; true')
setup_env['main']()
"""
    with subprocess.Popen([sys.executable, '-c', program], stderr=subprocess.PIPE, text=True) as process:
        try:
            children = []
            while 'sleep' not in [child.name() for child in children]:
                assert process.poll() is None
                children = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert errors == 'setup: interrupted; run it again to continue\n'
    deadline = time.monotonic() + 60  # a process ends a moment after the signal; sleep would take ten minutes
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() < deadline, children


def test_a_pin_that_does_not_support_this_python_is_reported(checkout):
    setup_env = runpy.run_path(str(checkout / 'tools/dev/setup_env.py'))
    message = ('ERROR: Ignored the following versions that require a different python version: 4.1.1 Requires-Python '
               '>=3.11.5\nERROR: No matching distribution found for soupsieve==4.1.1')
    assert 'does not support this Python' in setup_env['advise'](message, 1)


@pytest.mark.parametrize('python', PYTHONS)
def test_source_packages_support_every_python(python):
    """Reads the metadata of the installed packages, because the index has no wheels of these packages."""
    for pin in pins_for(python, ['openmmlab']):
        needed = metadata(pin.name)['Requires-Python']
        assert not needed or python in SpecifierSet(needed), pin
