"""What is trained, and how it is measured, by the folder of its data. Imports neither torch nor MMEngine."""
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mmvit_backbones.zoo.settings import Purpose  # whose package imports torch

LEAST_GAIN = 0.1  # percent of a metric that count as an improvement


class Task(NamedTuple):
    """A task of a network and a folder, with all its names.

    Args:
        name (str): What is trained.
        output (str): What that does, in predictions and exported files.
        settings (str): Which of the settings of a network it takes (:mod:`mmvit_backbones.zoo.settings`).
        framework (str): Who trains it.
        argument (str): Argument of functions for its folder.
        metric (str): Metric that selects the best checkpoint.
        unit (str): Its name in tables.
        factor (int): Percent in a unit of the metric.
        size (tuple[int, int]): Height and width of the images by default, for detectors their short and long side.
        visualizer (str): The framework's class that draws and logs.
        drawing_hook (str): Its hook that draws predictions.
    """

    name: str
    output: str
    settings: 'Purpose'
    framework: str
    argument: str
    metric: str
    unit: str
    factor: int
    size: tuple[int, int]
    visualizer: str
    drawing_hook: str

    def show(self, name: str, value: float) -> str:
        """Returns a metric and its value, of the task's metric in percent."""
        return f'{name} {self.factor * value:.3g} %' if name == self.metric else f'{name} {value:.4g}'


CLASSIFIER = Task(
    'classifier', output='classification', settings='classification', framework='mmpretrain',
    argument='class_folder', metric='accuracy/top1', unit='top-1, %', factor=1, size=(224, 224),
    visualizer='UniversalVisualizer', drawing_hook='VisualizationHook')
DETECTOR = Task(
    'detector', output='detection', settings='dense', framework='mmdet', argument='coco_folder',
    metric='coco/bbox_mAP', unit='box AP, %', factor=100, size=(800, 1333), visualizer='DetLocalVisualizer',
    drawing_hook='DetVisualizationHook')
SEGMENTER = Task(
    'segmenter', output='segmentation', settings='dense', framework='mmseg', argument='seg_folder',
    metric='mIoU', unit='mIoU, %', factor=1, size=(512, 512), visualizer='SegLocalVisualizer',
    drawing_hook='SegVisualizationHook')
TASKS = CLASSIFIER, DETECTOR, SEGMENTER
FRAMEWORKS = tuple(task.framework for task in TASKS)


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
    return next(task for task in TASKS if task.argument == argument), folder
