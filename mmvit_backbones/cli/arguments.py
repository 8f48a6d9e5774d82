"""Arguments that several verbs share."""
import argparse
import errno
import math
import os
import os.path as osp
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress

from mmengine.config import DictAction

from ..utils.files import check_writable, reason_of

MOST = 10**9 - 1  # more steps mean a schedule without an end to MMEngine


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the common arguments of training and testing."""
    parser.add_argument('--work-dir', type=output_folder,
                        help='folder for logs and checkpoints (default: work_dirs/CONFIG NAME)')
    add_config_options(parser)
    parser.add_argument('--no-accelerate', action='store_true', help='do not accelerate the model')
    add_process_arguments(parser, ['none', 'pytorch', 'slurm', 'mpi'])


def add_process_arguments(parser: argparse.ArgumentParser, launchers: list[str]) -> None:
    """Adds the arguments of verbs that can run in several processes."""
    several = parser.add_mutually_exclusive_group()
    several.add_argument('--processes', type=whole(1, 1024), metavar='N',
                         help='start N processes, one per GPU, or on the CPU if there is no GPU; on several machines, '
                              'set NNODES, NODE_RANK, MASTER_ADDR and PORT')
    several.add_argument('--launcher', choices=launchers, default='none', help='launcher of the processes')
    parser.add_argument('--local_rank', '--local-rank', type=whole(0), default=0, help=argparse.SUPPRESS)
    parser.add_argument('--check', action='store_true', help='check config, data and checkpoint, then stop')


def output_file(path: str) -> str:
    """Checks the path of an output file, and creates its folder."""
    is_new = not osp.exists(path)
    try:
        check_writable(path)
        os.makedirs(osp.dirname(osp.abspath(path)), exist_ok=True)
        open(path, 'ab').close()
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f'{path} cannot be written ({reason_of(error)})') from error
    if is_new:
        os.remove(path)
    return path


def whole(low: int, high: int = MOST) -> Callable[[str], int]:
    """Returns the type of arguments that are integers from ``low`` to ``high``."""
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(f'{text!r} is not an integer from {low} to {high}')
        return value

    return parse


def finite(low: float, high: float = math.inf, ends: bool = True) -> Callable[[str], float]:
    """Returns the type of arguments that are finite numbers from ``low`` to ``high``; ``ends`` includes both."""
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not low <= value <= high or not ends and value in (low, high):
            limits = f'from {low:g}' if ends else f'above {low:g}'
            if high < math.inf:
                limits += f' to {high:g}' if ends else f' and below {high:g}'
            raise argparse.ArgumentTypeError(f'{text!r} is not a finite number {limits}')
        return value

    return parse


positive, seed = whole(1), whole(0, 2**32 - 1)
pixels = whole(1, 2**14)  # image side
above_zero = finite(0, ends=False)


def output_folder(path: str) -> str:
    """Checks that a folder, or the existing folder in which it will be created, is writable; creates nothing."""
    if not path:
        raise argparse.ArgumentTypeError("'' is not a folder")
    try:
        parent = osp.abspath(path)
        while not osp.lexists(parent):
            parent = osp.dirname(parent)
        if not osp.isdir(parent):
            raise NotADirectoryError(errno.ENOTDIR, f'{parent} is not a folder')
        tempfile.TemporaryFile(dir=parent).close()
        with suppress(FileNotFoundError):
            os.stat(path)
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f'folder {path!r} cannot be written ({reason_of(error)})') from error
    return path


def pixel(text: str) -> tuple[int, int]:
    """Parses ``X,Y``."""
    x, y = text.split(',')
    return int(x), int(y)


class ConfigOptions(DictAction):
    """MMEngine's action for pairs KEY=VALUE, with a parser error for invalid ones."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: str | Sequence[str] | None, option_string: str = '') -> None:
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, IndexError, ValueError) as error:
            raise argparse.ArgumentError(self, f'{" ".join(values or ())!r} must be pairs KEY=VALUE, with all brackets '
                                               'of lists') from error


def add_config_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE',
                        help='change the config, e.g. train_dataloader.num_workers=8; quote lists: KEY="[1,2]"')


def add_pretrained_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--pretrained', nargs='?', const=True, metavar='TAG',
                        help="the authors' weights, downloaded the first time; TAG is e.g. 384, 22k or mask_rcnn_3x")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument('--class-folder', metavar='FOLDER',
                       help='custom data for a classifier: train/CLASS/ and val/CLASS/ with images')
    group.add_argument('--coco-folder', metavar='FOLDER',
                       help='for a detector: annotations/instances_{train,val}.json, train/ and val/')
    group.add_argument('--seg-folder', metavar='FOLDER',
                       help='for a segmenter: images/{train,val}/, masks/{train,val}/ and classes.txt')
    group.add_argument('--data-root', metavar='FOLDER', help="folder of the config's data set")
    parser.add_argument('--val-fraction', type=finite(0, 1, ends=False), metavar='SHARE',
                        help='share of the images for validation, for a folder without val/, e.g. 0.1')
    add_left_out_argument(parser)
    parser.add_argument('--seed', type=seed, help='seed of this split (default: 0), and of the run')


def add_left_out_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--allow-left-out', action='store_true',
                        help='continue if more than one in a hundred files of the folder is left out')


def data_options(args: argparse.Namespace) -> dict:
    """Returns the arguments of :func:`add_data_arguments`, for ``use_custom_data``."""
    names = ('class_folder', 'coco_folder', 'seg_folder', 'data_root', 'val_fraction', 'seed', 'allow_left_out')
    return {name: getattr(args, name) for name in names}
