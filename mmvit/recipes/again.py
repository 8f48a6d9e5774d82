"""Makes a recipe again with other arguments, such as another length, from those that its file records."""
import io
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmvit_backbones.errors import UsageError

from ..configs.files import read_config
from .folder import fine_tune

LENGTH = ('train_cfg.max_epochs', 'train_cfg.val_interval', 'default_hooks.checkpoint.interval', 'param_scheduler',
          'the momentum of EMAHook')
# Argument -> settings that belong together.
TOGETHER = dict(
    epochs=LENGTH, iters=LENGTH, lr=('optim_wrapper.optimizer.lr', ),
    batch_size=('train_dataloader.batch_size', 'optim_wrapper.optimizer.lr', 'param_scheduler'),
    accumulate=('optim_wrapper.accumulative_counts', 'optim_wrapper.optimizer.lr', 'default_hooks.checkpoint.interval'),
    size=('train_dataloader.dataset.pipeline', 'val_dataloader.dataset.pipeline'))


def is_recipe(path: str) -> bool:
    """Returns whether a file is a config of :func:`fine_tune`."""
    return bool(read_config(path).get('recipe'))


def make_again(path: str, *, work_dir: str | None = None, processes: int | None = None, **changes: Any) -> Config:
    """Returns the config that :func:`fine_tune` makes with other arguments than a recipe's.

    The recipe stays as it is: the new one has a work dir beside the old one, named after the arguments.

    Args:
        path (str): File of the recipe.
        work_dir (str | None): Folder of the run. Defaults to None: that of the recipe with the changes in its name,
            such as ``work_dirs/NAME_epochs_50``.
        processes (int | None): Number of training processes. Defaults to None: the recipe's.
        **changes: Arguments of :func:`fine_tune`.

    Raises:
        UsageError: If the file is not what :func:`fine_tune` makes with the arguments that it records, so that edits
            would be lost; the message names the settings that belong together.
    """
    cfg = read_config(path)
    recorded = cfg.recipe.to_dict()
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            same = fine_tune(**recorded)
    except (UsageError, TypeError) as error:  # arguments of another version
        raise UsageError(f'{path} cannot be made again with the arguments that it records: {error}') from error
    if same.text != Path(path).read_text(encoding='utf-8'):
        keys = dict.fromkeys(key for name in changes for key in TOGETHER.get(name, ()))
        raise UsageError(f'{path} is not what mmvit train makes with the arguments that it records: it was edited, the '
                         'data have changed, or another version made it. Start again from the network and the folder, '
                         f'or set what belongs together in the file: {", ".join(keys) or "its settings"}')
    if changes.keys() & {'epochs', 'iters'}:  # one length replaces the other
        recorded = {name: value for name, value in recorded.items() if name not in ('epochs', 'iters')}
    named = '_'.join(re.sub(r'(?:[^\w.-]|_)+', '_', f'{name}_{value}').rstrip('_') for name, value in changes.items())
    if processes is not None:
        recorded['processes'] = processes
    return fine_tune(**{**recorded, **changes, 'work_dir': work_dir or f'{cfg.work_dir}_{named}'})
