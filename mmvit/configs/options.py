"""Checks the keys of config options such as ``{'a.b.c': value}``."""
import inspect
from difflib import get_close_matches

from mmengine.config import Config
from mmengine.runner import Runner

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.messages import near_names

# Config keys that MMEngine reads in addition to the arguments of Runner.
MMENGINE_KEYS = {
    'activation_checkpointing', 'compile', 'custom_imports', 'efficient_conv_bn_eval', 'find_unused_parameters',
    'model_wrapper_cfg', 'runner_type', 'strategy', 'sync_bn', 'tta_model', 'tta_pipeline'
}
ADDED_KEYS = {'dtype'}  # arguments that are often added, although they resemble others


def check_option(cfg: Config, key: str, value: object = None) -> None:
    """Raises UsageError if a key of an option seems to be misspelled, or its value would replace a dict.

    MMEngine accepts keys that nothing reads, and text or numbers in place of a model.

    All parts of a key except the last must exist in the config. The last may be an argument that the config does not
    set, unless it resembles an existing key.
    """
    first, *rest = key.split('.')
    node, place = cfg.to_dict(), 'the config'
    known = {*node, *MMENGINE_KEYS, *inspect.signature(Runner.__init__).parameters} - {'self'}
    if first not in known:
        raise UsageError(f'option {key}: the config has no {first}{near_names(first, known)}')
    if first not in node:
        return
    for number, part in enumerate((first, *rest)):
        if isinstance(node, (list, tuple)):
            node = {str(index): entry for index, entry in enumerate(node)}
        elif not isinstance(node, dict):
            raise UsageError(f'option {key}: {place} is {node!r} and has no {part}')
        elif part not in node and number == len(rest) and (
                part in ADDED_KEYS or not get_close_matches(part, node, cutoff=0.75)):
            return
        if part not in node:
            raise UsageError(f'option {key}: {place} has no {part}; its keys are {", ".join(map(str, node))}')
        place, node = f'{place}.{part}' if number else part, node[part]
    if isinstance(node, dict) and isinstance(value, (str, int, float)):
        raise UsageError(f'option {key} must be a dict, got {value!r:.80}; set its keys, as in {key}.NAME=VALUE')
