"""Simulates Windows or macOS for this project in a process of Linux, and in those that it starts; SYSTEM names it.

Python imports this file at its start if its folder is on PYTHONPATH. Modules, functions and signals that the system
lacks are taken away from `mmvit` and `mmvit_backbones` only, because other packages ask which system they are on.
For all packages, processes start by spawn, and as on Windows, some names of files are refused, and so is replacing or
removing a file that is open. Not simulated: backslashes in paths, encodings of consoles, the system's libraries.
"""
import builtins
import contextlib
import importlib.util
import multiprocessing
import os
import platform
import re
import sys
import types
import warnings
from pathlib import Path

SYSTEM = os.environ.get('SYSTEM')  # Windows or Darwin, as Python names macOS
POSIX_MODULES = 'fcntl', 'resource', 'termios', 'pwd', 'grp', 'pty', 'tty', 'syslog'
LACKING = dict(
    Windows=dict(
        os='chown fchmod fork forkpty geteuid getgid getloadavg getpgid getuid initgroups killpg lchown mkfifo nice '
           'posix_fadvise pwrite sched_getaffinity sched_setaffinity setsid statvfs sync sysconf uname wait wait3 '
           'wait4 WNOHANG O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC',
        signal='alarm pause pthread_sigmask setitimer siginterrupt sigpending sigtimedwait sigwait sigwaitinfo '
               'SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGRTMIN SIGSTOP SIGTSTP SIGURG SIGUSR1 '
               'SIGUSR2 SIG_BLOCK SIG_SETMASK SIG_UNBLOCK'),
    Darwin=dict(
        os='posix_fadvise posix_fallocate sched_getaffinity sched_setaffinity',
        signal='sigtimedwait sigwaitinfo SIGRTMAX SIGRTMIN'))
FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def is_ours(name: str) -> bool:
    return name.partition('.')[0] in ('mmvit', 'mmvit_backbones')


class Lesser(types.ModuleType):
    """A module that lacks some names and has others; what is set here is set there."""

    def __init__(self, module: types.ModuleType, lacking: str, others: dict) -> None:
        super().__init__(module.__name__)
        vars(self).update(others, _module=module, _lacking=lacking.split())

    def __getattr__(self, name: str):
        if name in self._lacking:
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}', name=name)
        return getattr(self._module, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._module, name, value)


def modules_of(system: str) -> dict[str, types.ModuleType | None]:
    """Returns what our packages get in place of modules; None stands for one that the system lacks."""
    found: dict[str, types.ModuleType | None] = {
        name: Lesser(importlib.import_module(name), lacking, {}) for name, lacking in LACKING[system].items()}
    found['sys'] = Lesser(sys, '', dict(platform=dict(Windows='win32', Darwin='darwin')[system]))
    if system == 'Windows':
        found |= dict.fromkeys(POSIX_MODULES)
    return found


def import_as_on(system: str) -> None:
    """Lets our packages import what the system has."""
    real, replaced = builtins.__import__, modules_of(system)

    def lesser_import(name, globals=None, locals=None, fromlist=(), level=0):
        top = name.partition('.')[0]
        if not level and top in replaced and is_ours((globals or {}).get('__name__', '')):
            if replaced[top] is None:
                raise ModuleNotFoundError(f'No module named {name!r}', name=name)
            if not (fromlist and '.' in name):  # os.path is the same
                return replaced[top]
        return real(name, globals, locals, fromlist, level)

    builtins.__import__ = lesser_import


def open_files() -> list[os.stat_result]:
    """Returns the status of the files that this process has open."""
    found = []
    for number in os.listdir('/proc/self/fd'):
        with contextlib.suppress(OSError):  # the listing itself is closed
            found.append(os.stat(int(number)))
    return found


def refuse(event: str, arguments: tuple) -> None:
    """Raises OSError for what Windows refuses: some names of new files and folders, and changes of open files."""
    is_written = event == 'open' and isinstance(arguments[0], str | bytes) and arguments[2] & WRITES
    if is_written or event == 'os.mkdir':
        check_name(arguments[0])
    elif event == 'os.rename':
        check_not_open(arguments[0])
        check_not_open(arguments[1])
        check_name(arguments[1])
    elif event == 'os.remove' and isinstance(arguments[0], str | bytes | os.PathLike):
        check_not_open(arguments[0])


def check_name(path: str | bytes | os.PathLike) -> None:
    if (name := next((part for part in Path(os.fsdecode(path)).parts if FORBIDDEN.search(part)), None)) is not None:
        raise OSError(22, f'Invalid name {name!r}', os.fsdecode(path))


def check_not_open(path: str | bytes | os.PathLike) -> None:
    if os.path.exists(path) and any(os.path.samestat(os.stat(path), other) for other in open_files()):
        raise PermissionError(13, 'The process cannot access the file because it is being used', os.fsdecode(path))


def start_by_spawn() -> None:
    """Leaves only spawn, as on Windows."""
    from multiprocessing import context
    for name in ('fork', 'forkserver'):
        del context._concrete_contexts[name]  # pyright: ignore[reportAttributeAccessIssue]
    multiprocessing.set_start_method('spawn', force=True)


def simulate(system: str) -> None:
    import_as_on(system)
    warnings.filterwarnings('ignore', category=EncodingWarning)
    warnings.filterwarnings('error', category=EncodingWarning, module=r'mmvit(_backbones)?(\.|$)')
    sys.warnoptions.append('error::EncodingWarning')  # for `mmvit`, which else shows no warnings
    if system == 'Windows':
        start_by_spawn()
        sys.addaudithook(refuse)
        # MMEngine would fork on other systems, and imports another module for regular expressions there.
        platform.system = lambda: system if sys._getframe(1).f_globals['__name__'].startswith('mm') else 'Linux'
        if importlib.util.find_spec('regex') is None:
            sys.modules['regex'] = re


if SYSTEM:
    simulate(SYSTEM)
