"""Splits a model of mmpretrain, mmdet or mmseg into modules that can be exported with dynamic image sizes."""
import copy
from types import ModuleType
from typing import Any, NamedTuple

from mmengine.config import Config
from torch import nn

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.openmmlab_models import type_name

from .. import frameworks
from ..frameworks.building import takes_rgb
from ..frameworks.tasks import CLASSIFIER, DETECTOR, SEGMENTER, Task
from ..utils.config_parts import leaf_datasets
from . import classifier, detector, segmenter
from .preprocess import Geometry, Preprocess

# Each module has MODELS, the names of what it takes; check(model, geometry); and take_apart(model, geometry), which
# returns the network, the postprocessing, and the names of the input and of the outputs.
MODULES: dict[Task, ModuleType] = {CLASSIFIER: classifier, DETECTOR: detector, SEGMENTER: segmenter}


class Parts(NamedTuple):
    """Parts of a model; ``postprocess(images, *network(preprocess(images)))`` returns predictions.

    ``images`` has the shape ``(B, H, W, 3)``, or for a detector ``(H, W, 3)``.
    """

    preprocess: Preprocess
    network: nn.Module
    postprocess: nn.Module
    takes: str
    outputs: list[str]
    size: tuple[int, int] | None = None  # height and width of all inputs of the network, if they cannot vary


def exported_geometry(cfg: Config) -> Geometry:
    """Returns the geometry of a config's test pipeline, after checking that its model can be exported.

    Raises:
        UsageError: If the model cannot be exported; the message contains the reason.
    """
    model, module = cfg.model, MODULES[frameworks.task_of(cfg)]
    if type_name(model) not in module.MODELS:
        raise UsageError(f'model {type_name(model)} cannot be exported; allowed for {cfg.default_scope} are '
                         f'{", ".join(module.MODELS)}')
    steps = leaf_datasets(cfg.test_dataloader.dataset)[0]['pipeline']
    preprocessor = {**(cfg.get('data_preprocessor') or {}), **(model.get('data_preprocessor') or {})}
    if len(preprocessor.get('mean') or ()) != 3:
        raise UsageError(f'data_preprocessor.mean must have three values, for RGB, got {preprocessor.get("mean")}')
    padding = preprocessor.get('test_cfg') or {}  # of mmseg
    if padding.get('size'):
        raise UsageError('data_preprocessor.test_cfg must have size_divisor alone to be exported, got '
                         f'size={padding["size"]}')
    geometry = Geometry(steps, frameworks.of(cfg).padded_to(preprocessor))
    module.check(model, geometry)
    return geometry


def take_apart(model: Any, cfg: Config) -> Parts:
    """Returns the parts of a copy of a model, which must be in float32 on a CPU.

    Args:
        model (BaseModel): The model.
        cfg (Config): Config of the model.

    Raises:
        UsageError: See :func:`exported_geometry`.
    """
    geometry, module = exported_geometry(cfg), MODULES[frameworks.task_of(cfg)]
    model = copy.deepcopy(model).eval()
    source = model.data_preprocessor
    preprocess = Preprocess(geometry, source.get_buffer('mean'), source.get_buffer('std'), takes_rgb(source))
    size = geometry.size or getattr(model.backbone, 'image_size', None)  # as TimmBackbone has
    network, postprocess, takes, outputs = module.take_apart(model, geometry)
    return Parts(preprocess, network, postprocess, takes, outputs, size)
