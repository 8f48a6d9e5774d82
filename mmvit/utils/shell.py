"""Commands that are shown, so that they can be typed again, and the one that starts `mmvit` in another process."""
import os.path as osp
import shlex
import subprocess
import sys
from collections.abc import Iterable


def as_typed(words: Iterable[str]) -> str:
    """Returns the words of a command in one line, quoted as the shells of this system take them."""
    return subprocess.list2cmdline(words) if sys.platform == 'win32' else shlex.join(words)


def same_mmvit() -> list[str]:
    """Returns the words that start `mmvit` in another process with the packages of this one.

    ``python -m`` would first look for packages in the current folder, where a user may have a clone of mmdet.
    """
    return [sys.executable, '-c', f'import sys; sys.path[:] = {sys.path}; from mmvit.cli import main; main()']


def next_commands(work_dir: str) -> list[str]:
    """Returns the lines that say how to use the checkpoint of a training, by its work dir."""
    from mmvit_backbones.utils.messages import short_path

    folder, model = (as_typed([short_path(path)]) for path in (work_dir, osp.join(work_dir, 'model.onnx')))
    return ['next:', f'  mmvit test {folder}', f'  mmvit predict IMAGE --checkpoint {folder}',
            f'  mmvit export {folder} {model}']
