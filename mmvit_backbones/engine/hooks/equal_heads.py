"""Initial values of necks and heads for comparisons of backbones."""
from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner, set_random_seed

from ...utils.openmmlab_models import init_weights, unwrap_model


@HOOKS.register_module()
class EqualHeadsHook(Hook):
    """Initializes neck and heads independently of the backbone, and then restarts all random number generators.

    Without this hook, backbones that draw different numbers of random values would get heads, augmentations and drop
    paths from different random numbers.

    Args:
        models (Sequence[dict]): Configs of models with other backbones. The parameters and buffers of the trained
            model's own neck and heads, and then of these models', are copied to those of the trained model with the
            same name and shape.
    """

    priority = 'VERY_LOW'

    def __init__(self, models: Sequence[dict]) -> None:
        self.models = models

    def before_train(self, runner: Runner) -> None:
        if runner.iter:  # resumed
            return
        own = unwrap_model(runner.model).state_dict()
        trained = dict(runner.cfg.model, _scope_=runner.cfg.get('default_scope'))
        for config in (trained, *self.models):
            set_random_seed(runner.seed)
            model = MODELS.build({**config, 'backbone': dict(type='NoBackbone')})
            init_weights(model)
            with torch.no_grad():
                for name, value in model.state_dict().items():
                    if name in own and own[name].shape == value.shape:
                        own[name].copy_(value)
        set_random_seed(runner.seed)
