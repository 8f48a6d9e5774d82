"""A hook that the ``mmvit`` commands add to a run."""
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..zoo.loading import check_overlap, load_weights


class CheckpointMatchHook(Hook):
    """Raises CheckpointError if the loaded checkpoint belongs to another network; MMEngine only warns.

    Args:
        name (str): Name of the checkpoint for error messages.
        strict (bool): Whether the checkpoint must have all weights of the model. If False, as for fine-tuning, one
            weight with a matching name is enough.
    """

    priority = 'LOWEST'

    def __init__(self, name: str, strict: bool) -> None:
        self.name, self.strict = name, strict

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        check = load_weights if self.strict else check_overlap
        check(runner.model, checkpoint.get('state_dict', checkpoint), self.name)
