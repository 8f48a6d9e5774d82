"""Runs `mmvit` in a pseudo-terminal."""
import fcntl
import os
import pty
import select
import struct
import termios
import time
from pathlib import Path

from runs import Run

COLUMNS = 100


def use_terminal() -> None:
    os.environ['TERM'] = 'xterm'


def shown_in_a_terminal(*arguments, timeout: float = 200) -> str:
    """Returns what a call of `mmvit` writes to a terminal of 100 columns, after checking that it succeeds."""
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 40, COLUMNS, 0, 0))
        run = Run(Path(os.ttyname(slave)), *arguments, before=use_terminal)
        written, end = b'', time.monotonic() + timeout
        while run.process.is_alive() or select.select([master], [], [], 0)[0]:
            assert time.monotonic() < end, written.decode()
            if select.select([master], [], [], 0.1)[0]:
                written += os.read(master, 2**16)
        assert run.process.exitcode == 0, written.decode()
    finally:
        os.close(master)
        os.close(slave)
    return written.decode()
