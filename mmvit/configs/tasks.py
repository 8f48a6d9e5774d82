"""What is trained, and how it is measured, by the folder of its data. Imports neither torch nor MMEngine."""
import os
from typing import NamedTuple

LEAST_GAIN = 0.1  # percent of a metric that count as an improvement


class Task(NamedTuple):
    """A task of a network and a folder.

    Args:
        name (str): What is trained.
        framework (str): Who trains it.
        argument (str): Argument of functions for its folder.
        metric (str): Metric that selects the best checkpoint.
        unit (str): Its name in tables.
        factor (int): Percent in a unit of the metric.
    """

    name: str
    framework: str
    argument: str
    metric: str
    unit: str
    factor: int


TASKS = (Task('classifier', 'mmpretrain', 'class_folder', 'accuracy/top1', 'top-1, %', 1),
         Task('detector', 'mmdet', 'coco_folder', 'coco/bbox_mAP', 'box AP, %', 100),
         Task('segmenter', 'mmseg', 'seg_folder', 'mIoU', 'mIoU, %', 1))


def find_task(value: str) -> Task:
    """Returns the task with this name, framework or argument of a folder."""
    task, = (task for task in TASKS if value in task[:3])
    return task


def choose_task(**folders: str | os.PathLike | None) -> tuple[Task, str]:
    """Returns the task of the only folder that is given, by the arguments of functions, and the folder.

    Raises:
        UsageError: If none or several are given.
    """
    given = {name: os.fspath(folder) for name, folder in folders.items() if folder}
    if len(given) != 1:
        from mmvit_backbones.errors import UsageError  # whose package imports torch
        raise UsageError(f'pass exactly one of {", ".join(folders)}, got {given or "none"}')
    (argument, folder), = given.items()
    return find_task(argument), folder
