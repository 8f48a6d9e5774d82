"""What a recipe starts from: the whole model of another training, or a backbone's weights; and what is new."""
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mmvit_backbones.backbones import Backbone
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.initialization import loading_part
from mmvit_backbones.utils.names import is_in, names_of_parts
from mmvit_backbones.utils.openmmlab_models import type_name
from mmvit_backbones.zoo.convert import describe, write_file
from mmvit_backbones.zoo.fitting import LAST_LAYERS, fit, match
from mmvit_backbones.zoo.loading import find_weights
from mmvit_backbones.zoo.source import Weights
from mmvit_backbones.zoo.state_dicts import strip_prefix

from ..frameworks.building import use_framework
from ..running.run_folder import START
from ..utils.distributed import warn
from ..utils.faults import quiet
from .networks import Network, without_weights


class Start(NamedTuple):
    """What a model starts from.

    Args:
        file (str | None): The checkpoint of the whole model; None if only the backbone starts from weights.
        new (list[str]): Names of the modules and weights that start from initial values.
    """

    file: str | None
    new: list[str]


def find_start(network: Network, cfg: Config, classes: Sequence[str], folder: str) -> Start:
    """Returns what the model of a recipe starts from, which is built without memory.

    If another training has classes of other names, the file ``start.pth`` without the last layers is written.

    Args:
        network (Network): The pretrained network.
        cfg (Config): The model of the recipe, whose options may change the backbone.
        classes (Sequence[str]): Names of the classes.
        folder (str): Folder for ``start.pth``.

    Raises:
        CheckpointError: If the weights are for another network.
        UsageError: If layers are frozen that the weights lack.
    """
    use_framework(cfg.default_scope)
    network = replace(network, backbone=cfg.to_dict()['model']['backbone'])

    def find(backbone: nn.Module) -> Start:
        model = MODELS.build({**deepcopy(without_weights(cfg.model)), 'backbone': dict(type=nn.Identity)})
        model.backbone = backbone
        return start_of(model, network, classes, folder)

    with quiet():
        return network.call_built(find)


def start_of(model: Any, network: Network, classes: Sequence[str], folder: str) -> Start:
    weights: Any = network.weights
    if 'meta' in (weights.checkpoint or {}) and (start := start_whole(model, weights, classes, folder)):
        return start
    own = [name for name, _ in model.named_parameters()]
    loaded = {f'backbone.{name}' for name in loaded_in(network)}
    if not prefix_of(network) and loading_part(getattr(getattr(model, 'neck', None), 'init_cfg', None)):
        loaded |= {f'neck.{name}' for name in match(model.neck, strip_prefix(weights.state, 'neck.')).loaded}
    new = [name for name in own if name not in loaded]
    frozen = [name for name in new if name.startswith('backbone.') and model.get_parameter(name).ndim > 1
              and not model.get_parameter(name).requires_grad]
    if frozen:
        raise UsageError(f'freeze (--freeze) would freeze random layers, which the weights lack: '
                         f'{", ".join(names_of_parts(frozen, loaded))}')
    return Start(None, names_of_parts(new, loaded))


def start_whole(model: nn.Module, weights: Weights, classes: Sequence[str], folder: str) -> Start | None:
    """Returns the start from the whole model of a training; None if it has other layers before the last ones."""
    state = weights.state
    found = match(model, state)
    has_last = any(is_in(name, LAST_LAYERS) for name in state)
    if found.dropped or not has_last or not all(is_in(name, LAST_LAYERS) for name in found.new):
        parts = {name for name, _ in model.named_children()} & {name.partition('.')[0] for name in state}
        if 'backbone' in parts and (others := sorted(parts - {'backbone'})):
            warn(f'{weights.source}: its {" and ".join(others)} differ from those of this recipe and start anew; only '
                 'its backbone is used')
        return None
    if not found.new and weights.classes == tuple(classes):
        return Start(weights.source, [])
    file = Path(folder, START)
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: x for name, x in state.items() if not is_in(name, LAST_LAYERS)}
    write_file(kept, describe(kept, weights), file)
    return Start(str(file), names_of_parts([name for name in model.state_dict() if name not in kept], kept))


def prefix_of(network: Network) -> str | None:
    """Returns the prefix of the names of a backbone's weights, which an option of the recipe may set."""
    return loading_part(network.backbone.get('init_cfg')).get('prefix')


def loaded_in(network: Network) -> list[str]:
    """Returns the names of a backbone's weights that its initialization loads; all of them, where nothing tells."""
    weights: Any = network.weights
    backbone, in_timm = network.call_built(lambda built: built), type_name(network.backbone) == 'TimmBackbone'
    if weights.is_unread:
        if Path(weights.source).is_file():
            with torch.device('cpu'):
                MODELS.build(network.backbone)  # refuses a file that lacks weights, before the training
        return backbone.names_of_weights() if in_timm else [name for name, _ in backbone.named_parameters()]
    if isinstance(backbone, Backbone) or in_timm:
        found = find_weights(backbone, weights.checkpoint, weights.source, prefix_of(network))
        return fit(backbone, found, 'all', weights.source).loaded
    state = strip_prefix(weights.state, prefix_of(network) or '')
    if match(backbone, state).new:
        with torch.device('cpu'):  # initial values tell what is random
            backbone = MODELS.build(without_weights(network.backbone))
    fitted = fit(nn.ModuleDict(dict(backbone=backbone)), {f'backbone.{name}': x for name, x in state.items()},
                 'the backbone', weights.source)
    return [name.removeprefix('backbone.') for name in fitted.loaded]
