"""Keeps a resumed run to the files of its work dir."""
import os.path as osp

from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...zoo.reading import RUNS, info_of, is_of_run, recorded_best, runs_of


@HOOKS.register_module()
class OwnFilesHook(Hook):
    """Lets a resumed run replace the best checkpoint in its own work dir, wherever the run was before.

    A checkpoint records the path of the best one so far. MMEngine's ``CheckpointHook`` deletes that file when there is
    a better one, even if the work dir has been copied since, or the checkpoint is of another folder. This hook replaces
    the path by that of the file in this work dir. If the run has none there, the best checkpoint is chosen again.

    MMEngine's message hub, which is in each checkpoint, gets the names of the runs of a training that was resumed, each
    with the step at which it began.

    Example:
        >>> custom_hooks = [dict(type='OwnFilesHook')]
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        before = runner.message_hub.runtime_info.get(RUNS, [])
        runner.message_hub.update_info(RUNS, [*before, (runner.experiment_name, runner.iter)])

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume:
            return
        info, folder = info_of(checkpoint), checkpoint_folder(runner)
        info[RUNS] = runs_of(checkpoint)
        for key, path in recorded_best(info).items():
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
