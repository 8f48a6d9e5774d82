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
from mmvit_backbones.utils.initialization import loads_weights
from mmvit_backbones.utils.names import is_in, names_of_parts
from mmvit_backbones.utils.openmmlab_models import type_name
from mmvit_backbones.zoo.convert import describe, write_file
from mmvit_backbones.zoo.fitting import LAST_LAYERS, fit, plan
from mmvit_backbones.zoo.loading import find_weights
from mmvit_backbones.zoo.source import Weights
from mmvit_backbones.zoo.state_dicts import strip_prefix

from ..frameworks.building import use_framework
from ..running.run_folder import START
from ..utils.distributed import warn
from ..utils.faults import quiet
from .networks import Network, call_unweighted, without_weights


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
    with quiet():
        return call_unweighted(deepcopy(cfg.model),  # which detectors change
                               lambda model: start_of(model, network, classes, folder))


def start_of(model: Any, network: Network, classes: Sequence[str], folder: str) -> Start:
    weights = network.weights
    if weights and 'meta' in (weights.checkpoint or {}) and (start := start_whole(model, weights, classes, folder)):
        return start
    own = [name for name, _ in model.named_parameters()]
    loaded = {f'backbone.{name}' for name in loaded_in(model.backbone, network)}
    if weights and not prefix_of(network) and loads_weights(getattr(getattr(model, 'neck', None), 'init_cfg', None)):
        loaded |= {f'neck.{name}' for name in plan(model.neck, strip_prefix(weights.state, 'neck.')).loaded}
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
    found = plan(model, state)
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
    """Returns the prefix that selects the names of a backbone's weights, if one was given."""
    return (network.backbone.get('init_cfg') or {}).get('prefix')


def loaded_in(backbone: Any, network: Network) -> list[str]:
    """Returns the names of a backbone's weights that its initialization loads; all of them, where nothing tells."""
    weights = network.weights
    checkpoint = weights and weights.checkpoint
    if type_name(network.backbone) == 'TimmBackbone' and network.backbone.get('pretrained'):
        if network.backbone.get('pretrained_cfg_overlay'):
            with torch.device('cpu'):
                MODELS.build(network.backbone)  # refuses a file that lacks weights, before the training
        return backbone.names_of_weights()
    if not weights or not checkpoint:
        return [name for name, _ in backbone.named_parameters()]
    prefix = prefix_of(network)
    if isinstance(backbone, Backbone) or type_name(network.backbone) == 'TimmBackbone':
        return fit(backbone, find_weights(backbone, checkpoint, weights.source, prefix), 'all', weights.source).loaded
    with torch.device('cpu'):  # initial values tell what is random
        model = nn.ModuleDict(dict(backbone=MODELS.build(without_weights(network.backbone))))
        state = strip_prefix(weights.state, prefix or '')
        fitted = fit(model, {f'backbone.{name}': x for name, x in state.items()}, 'the backbone', weights.source)
    return [name.removeprefix('backbone.') for name in fitted.loaded]
