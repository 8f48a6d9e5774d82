"""Tools for reading other people's checkpoint layouts."""
import re
from collections.abc import Callable, Mapping

from torch import Tensor


def unwrap(checkpoint: Mapping, wrappers: tuple[str, ...]) -> dict[str, Tensor]:
    """Finds the state dict in a training state.

    Args:
        checkpoint (Mapping): What the file holds.
        wrappers (tuple[str, ...]): Keys under which the weights may lie, the best first.

    Returns:
        dict[str, Tensor]: The weights, without the ``module.`` prefix that DataParallel leaves.
    """
    for wrapper in wrappers:
        if isinstance(checkpoint.get(wrapper), Mapping):
            return unwrap(checkpoint[wrapper], wrappers)
    return {key.removeprefix('module.'): value for key, value in checkpoint.items()}


def rename(state_dict: Mapping[str, Tensor], layout: dict[str, str | Callable | None],
           network: str) -> dict[str, Tensor]:
    """Renames every key by the first pattern that matches it whole.

    Args:
        state_dict (Mapping[str, Tensor]): Weights in the authors' layout.
        layout (dict[str, str | Callable | None]): Pattern -> replacement, a string or a function of the match as in
            ``re.sub``; None drops the tensor.
        network (str): Name for the error message.

    Raises:
        KeyError: If no pattern matches; the message names the key.
    """
    renamed = {}
    for key, value in state_dict.items():
        for pattern, replacement in layout.items():
            match = re.fullmatch(pattern, key)
            if match:
                break
        else:
            raise KeyError(f'{key!r} is not a key of a published {network} checkpoint')
        if replacement is not None:
            renamed[replacement(match) if callable(replacement) else match.expand(replacement)] = value
    return renamed
