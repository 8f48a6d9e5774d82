"""Keeps a resumed run to the files of its work dir."""
import os.path as osp
from uuid import uuid4

from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...zoo.reading import RUN, is_of_run, recorded_best


@HOOKS.register_module()
class OwnFilesHook(Hook):
    """Lets a resumed run replace the best checkpoint in its own work dir, wherever the run was before.

    A checkpoint records the path of the best one so far. MMEngine's ``CheckpointHook`` deletes that file when there is
    a better one, even if the work dir has been copied since, or the checkpoint is of another folder. This hook replaces
    the path by that of the file in this work dir. If the run has none there, the best checkpoint is chosen again.

    Each checkpoint gets an id of its training in ``meta['run']``, which a resumed training keeps.

    Example:
        >>> custom_hooks = [dict(type='OwnFilesHook')]
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        self.run = uuid4().hex

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['meta'][RUN] = self.run

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume:
            return
        self.run = checkpoint['meta'].get(RUN, self.run)
        folder = checkpoint_folder(runner)
        for key, path in recorded_best(checkpoint).items():
            info = checkpoint['message_hub']['runtime_info']
            own = osp.join(folder, osp.basename(path))
            if is_of_run(own, checkpoint):
                info[key] = own
                continue
            del info[key]
            score = info.pop(key.replace('best_ckpt', 'best_score'), None)
            runner.logger.warning(f'the best checkpoint so far, {path} with the score {score}, is not in {folder}; the '
                                  'best one is chosen again')


def checkpoint_folder(runner: Runner) -> str:
    """Returns the folder to which MMEngine's ``CheckpointHook`` writes."""
    out_dir = next((hook.out_dir for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
    work_dir = str(runner.work_dir)
    return work_dir if out_dir in (None, work_dir) else osp.join(out_dir, osp.basename(work_dir.rstrip(osp.sep)))
