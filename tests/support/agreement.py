"""Hook for tests of training with two processes; the config ``two_processes.py`` imports this file."""
import torch
from mmengine.dist import all_gather, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class AgreementHook(Hook):
    """Asserts that two processes with different data apply the same update to every parameter."""

    def before_train(self, runner):
        self.start = self.weights(runner)

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        assert get_world_size() == 2
        losses = all_gather(outputs['loss'].detach().reshape(1))
        assert not torch.equal(*losses)
        steps = {name: self.start[name] - weight for name, weight in self.weights(runner).items()}
        unchanged = [name for name, step in steps.items() if not step.any()]
        assert not unchanged, unchanged
        assert torch.equal(*all_gather(torch.cat([step.flatten() for step in steps.values()])))

    @staticmethod
    def weights(runner):
        return {name: weight.detach().clone() for name, weight in runner.model.named_parameters()}
