"""Keeps the backbone frozen."""
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.nn.parallel import DistributedDataParallel

from ...utils.openmmlab_models import unwrap_model


@HOOKS.register_module()
class FrozenBackboneHook(Hook):
    """Keeps all weights and statistics of the backbone as they are.

    The model of several processes is wrapped again, as PyTorch's wrapper waits for the gradients of all weights that
    had some when it was made.
    """

    priority = 'VERY_HIGH'  # other hooks must see the new wrapper

    def before_run(self, runner: Runner) -> None:
        model = unwrap_model(runner.model)
        model.get_submodule('backbone').requires_grad_(False)
        if isinstance(runner.model, DistributedDataParallel):
            runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), model)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        unwrap_model(runner.model).get_submodule('backbone').eval()
