#!/usr/bin/env python3
"""Creates .venv with pinned versions of all packages, and compiles the operators of mmcv and of this package.

``MMVIT_OPENMMLAB=upstream`` creates .venv-upstream with the original OpenMMLab packages instead of their forks.
``MMVIT_BUILD_OPS=cuda`` compiles operators for GPUs even if there is no GPU, e.g. while a Docker image is built.

Compiled wheels are cached in ~/.cache/mmvit_backbones/wheels (XDG_CACHE_HOME replaces ~/.cache), or in the checkout if
that folder is not writable. pip's own cache would not distinguish wheels compiled against different versions of torch.
"""
import contextlib
import fcntl
import filecmp
import functools
import hashlib
import os
import platform
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = {'forks': '', 'upstream': '-upstream'}
OPENMMLAB_KIND = os.environ.get('MMVIT_OPENMMLAB', 'forks')  # setup.py also reads this variable
SUFFIX = SUFFIXES.get(OPENMMLAB_KIND)
VENV = ROOT / f'.venv{SUFFIX}'
PYTHON = VENV / 'bin' / 'python'
LOG = VENV / 'setup.log'
STAMP = VENV / 'setup.stamp'
PINS = [ROOT / 'requirements' / name
        for name in ('build.txt', f'torch{SUFFIX}.txt', f'openmmlab{SUFFIX}.txt', 'runtime.txt',
                     *(['adapters.txt', 'serve.txt'] if OPENMMLAB_KIND == 'forks' else []))]
BUILD, TORCH, OPENMMLAB, *WHEELS = PINS
OPERATORS = ROOT / 'mmvit_backbones' / 'ops'
PYTHON_VERSIONS = '3.10', '3.11', '3.12', '3.13'  # versions for which the pinned packages have wheels
DISK_GB = 12
HEARTBEAT_SECONDS = 20
STEPS = 7
FULL_DISK = 'a disk is full; free disk space, or set TMPDIR and XDG_CACHE_HOME to folders on another disk'
# Regular expression that matches the log of a failed command -> advice.
ADVICE = {
    'No space left on device|Disk quota exceeded': FULL_DISK,
    '407 Proxy Authentication Required|Cannot connect to proxy':
        'the proxy refused the connection; set HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT correctly',
    'CERTIFICATE_VERIFY_FAILED':
        'the certificate of the package index or proxy is not trusted; set PIP_CERT to the file '
        'of its CA certificate',
    'Failed to establish a new connection|Temporary failure in name resolution|NewConnectionError|ConnectTimeout'
    '|Network is unreachable|Read timed out|Connection reset|Connection refused|incomplete-download':
        'the package index does not respond; check the network, set HTTPS_PROXY behind a proxy or '
        'PIP_INDEX_URL for your own index, and run the setup again',
    'Ignored the following versions that require a different python version':
        'a pinned version, named in the message above, does not support this Python; install a Python that '
        'docs/upstream.md lists, delete the environment, and run make setup PYTHON=/path/to/python3.12',
    'No matching distribution found':
        'the package index lacks a pinned version; if PIP_INDEX_URL or pip.conf sets your own index, it must '
        'mirror pypi.org, or set PIP_EXTRA_INDEX_URL to an index that has the version',
    'fatal error: Python.h': 'the development files of Python are missing (Debian, Ubuntu: apt install python3-dev)',
    'Killed signal|cc1plus: out of memory': 'out of memory; close other programs and run the setup again',
}
SIGNALS = {
    -9: 'the command was killed, probably for lack of memory; close other programs and run the setup again',
    -4: "this CPU lacks instructions that torch's wheels use; use a newer machine",
}


class SetupError(Exception):
    """An error that is printed without a traceback."""


def use(folder):
    """Makes the functions of this module use another environment."""
    global VENV, PYTHON, LOG
    VENV, PYTHON, LOG = folder, folder / 'bin' / 'python', folder / 'setup.log'


def read_pins(file):
    """Returns {package: version} of a requirements file; if a package has several pins, the first one."""
    lines = (re.split('[#;]', line)[0].strip() for line in reversed(file.read_text().splitlines()))
    return dict(re.split('={2,3}', line) for line in lines if line)


def fingerprint():
    """Returns a hash of the pins and of the path of the checkout, because .venv contains this path."""
    return hashlib.sha256(b'\0'.join([str(ROOT).encode(), *(file.read_bytes() for file in PINS)])).hexdigest()


def say(text):
    print(text, flush=True)


def minutes(seconds):
    return f'{int(seconds) // 60} min {int(seconds) % 60:02d} s'


def choose_cache():
    """Returns the folder for wheels, in the user's cache or, if the cache is not writable, in the checkout."""
    try:
        cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mmvit_backbones' / 'wheels'
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except (OSError, RuntimeError):  # read-only, or no home directory
        return ROOT / 'build' / 'wheels'


@contextlib.contextmanager
def locked(folder):
    """Locks a folder of the cache against other processes, including those of other clones."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + '.lock').open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f'      waiting for another setup that builds {folder.name}')
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def advise(text, code):
    """Returns advice on a failed command, or ''."""
    if code in SIGNALS:
        return f'{SIGNALS[code]}; '
    # pip reports a full disk as an interrupted connection.
    if any(shutil.disk_usage(folder).free < 1e9 for folder in (ROOT, tempfile.gettempdir())):
        return f'{FULL_DISK}; '
    return next((f'{advice}; ' for pattern, advice in ADVICE.items() if re.search(pattern, text)), '')


@contextlib.contextmanager
def delayed_signals():
    """Delays signals: their handlers are called at the end of the block."""
    received = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number in received:
        os.kill(os.getpid(), number)


def run(*command, cwd=None, **env):
    """Runs a command with its output in the log, and prints the elapsed time; prints the end of the log on failure."""
    start = time.monotonic()
    with LOG.open('a') as log:
        begin = log.tell()
        print('$', *command, file=log, flush=True)
        process = None
        try:
            with delayed_signals():  # a signal before the assignment would leave the process running
                process = subprocess.Popen([str(part) for part in command], cwd=cwd or VENV, env={**os.environ, **env},
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                           start_new_session=True)
            code = None
            while code is None:
                try:
                    code = process.wait(timeout=HEARTBEAT_SECONDS)
                except subprocess.TimeoutExpired:
                    say(f'      ... {minutes(time.monotonic() - start)}')
        except BaseException:
            if process:
                os.killpg(process.pid, signal.SIGTERM)  # including compilers that the command started
                process.wait()
            raise
    if code:
        text = LOG.read_bytes()[begin:].decode(errors='replace')
        say('\n'.join(text.splitlines()[-15:]))
        raise SetupError(advise(text, code) + f'the last command failed with the messages above; the full log is {LOG}')


def pip(*arguments, **env):
    run(PYTHON, '-m', 'pip', '--disable-pip-version-check', *arguments, **env)


def install(*arguments):
    # Byte-compiling torch takes minutes; Python compiles modules anyway when they are imported.
    pip('install', '--no-deps', '--no-compile', '--progress-bar=off', *arguments)


def output(*command):
    # Old versions of Python support these arguments, too, so that the setup can report that they are too old.
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True).stdout


def find_python(versions=PYTHON_VERSIONS):
    """Returns the path and version of a Python that can create environments; prefers the existing environment's."""
    probe = ('import sys, venv, ensurepip; '
             'print("%d.%d" % sys.version_info[:2], getattr(sys, "_base_executable", sys.executable))')
    by_pyenv = (Path.home() / '.pyenv' / 'versions').glob('3.*/bin/python')
    for name in (PYTHON, sys.executable, *(f'python{version}' for version in versions), *sorted(by_pyenv)):
        try:
            version, executable = output(name, '-c', probe).strip().split(' ', 1)
        except (OSError, subprocess.CalledProcessError):
            continue
        if version in versions:
            return executable, version
    here = '%d.%d' % sys.version_info[:2]
    name = f'python{here if here in versions else versions[0]}'
    raise SetupError(
        f'Python {" or ".join(versions)} with the modules venv and ensurepip was '
        f'not found (this is {platform.python_version()}); install it (Debian, Ubuntu: apt install {name}-venv '
        f'{name}-dev), and if it is not on PATH, run make setup PYTHON=/path/to/{name}')


def check_machine(python, version):
    if not shutil.which('c++'):
        raise SetupError('mmcv requires a C++ compiler, but `c++` was not found: install g++ '
                         '(Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++)')
    include = output(python, '-c', 'import sysconfig; print(sysconfig.get_path("include"))').strip()
    if not Path(include, 'Python.h').exists():
        raise SetupError(f'mmcv requires {include}/Python.h: install the development files of {python} '
                         f'(Debian, Ubuntu: apt install python{version}-dev)')
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if free_gb < DISK_GB and not VENV.exists():
        raise SetupError(f'the setup requires {DISK_GB} GB of free disk space in {ROOT}, got {free_gb:.1f} GB')


def check_distributions():
    """Raises SetupError if an environment mixes the original OpenMMLab packages with their forks."""
    find = runpy.run_path(str(ROOT / 'mmvit_backbones' / 'utils' / 'installation.py'))['find_conflicts']
    if conflicts := find(path=[str(folder) for folder in VENV.glob('lib/python3*/site-packages')]):
        raise SetupError(f'{VENV}: {conflicts[0]}')


def create_venv(python, requirements=BUILD):
    """Creates an environment, unless an earlier, perhaps interrupted setup left one that works."""
    try:
        output(PYTHON, '-m', 'pip', '--version')
    except (OSError, subprocess.CalledProcessError):
        shutil.rmtree(VENV, ignore_errors=True)
        VENV.mkdir()
        run(python, '-m', 'venv', VENV)
    install('--requirement', requirements)


def choose_device():
    """Returns the device for which operators are compiled, 'cpu' or 'cuda'.

    'cuda' requires nvcc of CUDA 13, like torch's wheels, and either nvidia-smi on PATH or ``MMVIT_BUILD_OPS=cuda``.
    """
    setting = os.environ.get('MMVIT_BUILD_OPS', 'auto')
    if setting not in ('auto', 'cuda') or setting == 'auto' and not shutil.which('nvidia-smi'):
        return 'cpu'
    if shutil.which('nvcc') and 'release 13.' in output('nvcc', '--version'):
        return 'cuda'
    if setting == 'cuda':
        raise SetupError('MMVIT_BUILD_OPS=cuda requires nvcc of CUDA 13 on PATH')
    return 'cpu'


def wheel_folder(cache, package, version, python, device):
    torch, python = read_pins(TORCH)['torch'], python.replace('.', '')
    return cache / f'{package}-{version}-torch{torch}-cp{python}-{platform.machine()}-{device}'


def cached_wheel(folder):
    """Returns the wheel in the folder, or None if it is missing or damaged."""
    for wheel in folder.glob('*.whl'):
        try:
            with zipfile.ZipFile(wheel) as archive:
                if archive.testzip() is None:
                    return wheel
        except (OSError, zipfile.BadZipFile, zlib.error):
            pass
        say(f'      {wheel} is damaged and will be built again')
    return None


def build_wheel(requirement, folder, **env):
    """Builds a wheel in a temporary folder and then renames the folder, so that cached folders are complete."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix='tmp-') as build:
        options = ['--no-build-isolation', '--no-deps', '--no-cache-dir', '--wheel-dir', f'{build}/wheel']
        pip('wheel', *options, requirement, **env)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(f'{build}/wheel', folder)


def merge_sources(folder, parts, alone):
    """Replaces the C++ files of a folder by ``parts`` files that include them; files that match ``alone`` remain.

    This saves time, because compiling torch's headers, once per file, takes longer than compiling the file itself.
    """
    files = [file for file in sorted(folder.glob('*.cpp')) if not re.search(alone, file.stem)]
    for file in files:
        file.rename(file.with_suffix('.inc'))
    for part in range(parts):
        lines = [f'#include "{file.stem}.inc"\n' for file in files[part::parts]]
        (folder / f'merged{part}.cpp').write_text(''.join(lines))


def build_mmcv(requirement, folder, device):
    jobs = len(os.sched_getaffinity(0))
    env = {'MMCV_WITH_OPS': '1', 'MAX_JOBS': str(jobs), 'CFLAGS': '-g0 -O2 -w'}
    if device == 'cuda':
        build_wheel(requirement, folder, FORCE_CUDA='1', **env)
        return
    with tempfile.TemporaryDirectory() as temporary:
        options = ['--no-build-isolation', '--no-deps', '--no-binary=:all:', '--dest', temporary]
        pip('download', *options, requirement)
        archive, = Path(temporary).glob('*.tar.gz')
        shutil.unpack_archive(str(archive), temporary)
        source = Path(str(archive)[:-len('.tar.gz')])
        operators = source / 'mmcv' / 'ops' / 'csrc' / 'pytorch'
        merge_sources(operators, parts=2, alone='pybind')
        merge_sources(operators / 'cpu', parts=1, alone='align|psamask')  # these files reuse names or redefine min
        build_wheel(source, folder, CUDA_VISIBLE_DEVICES='', **env)


def provide_wheels(folders, build, duration):
    """Returns the wheels of the packages, from the cache or newly built."""
    wheels = []
    for requirement, folder in folders.items():
        with locked(folder):
            if not cached_wheel(folder):
                say(f'      building {requirement}, {duration}, once per machine')
                build(requirement, folder)
            wheels.append(cached_wheel(folder))
    return wheels


def provide_operators(cache, device):
    """Copies this package's operators into the checkout, from the cache or newly compiled."""
    builder, sources = OPERATORS / 'build.py', sorted((OPERATORS / 'csrc').iterdir())
    what = [read_pins(TORCH)['torch'].encode(), platform.machine().encode(), device.encode()]
    key = hashlib.sha256(b'\0'.join(what + [file.read_bytes() for file in [builder, *sources]])).hexdigest()[:16]
    folder = cache.parent / 'operators' / key
    with locked(folder):
        if not folder.exists():
            say('      compiling the operators, about 2 minutes on 2 cores, once per machine and version')
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix='tmp-') as build:
                run(PYTHON, builder, 'cuda' if device == 'cuda' else 'cpp', '--folder', f'{build}/libraries')
                os.rename(f'{build}/libraries', folder)
    for library in folder.glob('*.so'):
        own = OPERATORS / library.name
        if not (own.exists() and filecmp.cmp(library, own)):
            shutil.copy(library, own)


def verify():
    # The first import of yapf writes a cache, which two processes of a training must not do at the same time.
    modules = 'torch, mmcv.ops, mmdet.apis, mmseg.apis, mmpretrain.apis, yapf, mmvit_backbones'
    run(PYTHON, '-c', f'import {modules}')


def set_up():
    if SUFFIX is None:
        raise SetupError(f'MMVIT_OPENMMLAB must be one of {sorted(SUFFIXES)}, got {OPENMMLAB_KIND!r}')
    start = time.monotonic()
    if VENV.exists():
        check_distributions()
    device, cache = choose_device(), choose_cache()
    if STAMP.exists() and PYTHON.exists() and STAMP.read_text() == fingerprint():
        provide_operators(cache, device)
        return
    python, version = find_python()
    check_machine(python, version)
    packages = read_pins(OPENMMLAB)
    mmcv = {name: packages.pop(name) for name in ('onedl-mmcv', 'mmcv') if name in packages}

    def folders(packages, device):
        return {f'{name}=={pin}': wheel_folder(cache, name, pin, version, device) for name, pin in packages.items()}

    def step(number, text):
        say(f'[{number}/{STEPS}] {text} (after {minutes(time.monotonic() - start)})')

    step(1, f'creating {VENV}')
    create_venv(python)
    STAMP.unlink(missing_ok=True)
    step(2, 'installing torch and other wheels: 3 GB to download, about 5 minutes')
    install(*(argument for file in (TORCH, *WHEELS) for argument in ('--requirement', file)))
    step(3, f'providing mmcv with compiled operators ({device})')
    compile_mmcv = functools.partial(build_mmcv, device=device)
    wheels = provide_wheels(folders(mmcv, device), compile_mmcv, 'about 8 minutes on 2 cores')
    step(4, 'providing the other OpenMMLab packages')
    wheels += provide_wheels(folders(packages, 'any'), build_wheel, 'less than a minute')
    step(5, 'installing OpenMMLab and this package')
    install('--no-index', '--force-reinstall', *wheels)
    install('--no-build-isolation', '--editable', ROOT)
    step(6, "providing this package's operators")
    provide_operators(cache, device)
    step(7, 'checking that everything can be imported')
    check_distributions()
    verify()
    STAMP.write_text(fingerprint())
    say(f'ready after {minutes(time.monotonic() - start)}: {VENV}')


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP, and it must stay ignored
            signal.signal(number, signal.default_int_handler)  # like Ctrl-C
    try:
        set_up()
    except (SetupError, OSError) as error:
        sys.exit(f'setup: {error}')
    except KeyboardInterrupt:
        sys.exit('setup: interrupted; run it again to continue')


if __name__ == '__main__':
    main()
