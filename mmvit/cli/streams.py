"""The standard streams of a command: closed ones, consoles that lack characters, and readers that end."""
import errno
import io
import os
import sys

NO_READER = errno.EPIPE, errno.EIO, errno.EINVAL  # of a pipe, a terminal, and a pipe on Windows


def prepare() -> None:
    """Replaces closed standard streams by the null device, and lets the others show ? for what they cannot show.

    Services may start programs without them. Python then has None in place of a stream, and the next file that is
    opened, such as a checkpoint, gets the number of standard output.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdin = sys.stdin or open(0, encoding='utf-8', closefd=False)  # noqa: SIM115  stays open
    sys.stdout = sys.stdout or open(1, 'w', encoding='utf-8', closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, 'w', encoding='utf-8', closefd=False)  # noqa: SIM115
    for stream in sys.stdout, sys.stderr:
        # A console shows ? for characters that it lacks, and for bytes in names of files that are no text.
        if isinstance(stream, io.TextIOWrapper) and (stream.encoding.lower() != 'utf-8' or stream.errors == 'strict'):
            stream.reconfigure(errors='replace')


def outlive_readers() -> None:
    """Lets a run of hours go on without its output if a pager, a pipe or a remote shell that reads it has ended."""
    for name in 'stdout', 'stderr':
        stream = getattr(sys, name)
        if type(stream) is io.TextIOWrapper:
            stream.flush()
            file = io.BufferedWriter(Outliving(stream.fileno(), 'w', closefd=False))
            setattr(sys, name, io.TextIOWrapper(file, stream.encoding, stream.errors, None,
                                                stream.line_buffering or stream.write_through))  # -u


class Outliving(io.FileIO):
    """A file that becomes the null device when its reader has ended; standard output says so once."""

    def write(self, data) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in NO_READER:
                raise
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)
        if self.fileno() == 1:
            from mmengine.logging import print_log
            text = ('standard output was closed, e.g. by a pager or a remote shell that ended; the run goes on without '
                    'it, see its log. Next time, start it with nohup, or with > FILE')
            print(f'warning: {text}', file=sys.stderr, flush=True)
            print_log(text, 'current', 30)  # standard output, which writes already, ignores it
        return len(data)
