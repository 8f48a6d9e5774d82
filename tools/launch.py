"""Starts several processes like torchrun, and names the failed one in one line."""
import signal
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def main() -> int:
    """Runs torchrun's command line; returns the exit code of the first process that failed."""
    try:
        run.main(sys.argv[1:])
    except SignalException as error:
        return 128 + error.sigval
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        what = f'failed with exit code {code}'
        if code < 0:
            name = signal.Signals(-code).name
            hint = ', often by the system for want of memory' if name == 'SIGKILL' else ''
            what = f'was killed by {name}{hint}; all others were ended'
        if code not in (130, 143):  # the others were told to stop
            print(f'error: rank {rank} (process {failure.pid}) {what}', file=sys.stderr)
        return 128 - code if code < 0 else code
    return 0


if __name__ == '__main__':
    sys.exit(main())
