"""Names of modules and weights, whose parts dots separate."""
import re
from collections.abc import Collection, Iterable


def names_of_parts(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """Returns the shortest names of modules, or of weights, that stand for ``names`` and for none of ``others``."""
    taken = {name[:end] for name in others for end in ends_of(name)}
    return list(dict.fromkeys(next(name[:end] for end in ends_of(name) if name[:end] not in taken) for name in names))


def ends_of(name: str) -> list[int]:
    """Returns where the parts of a name such as ``backbone.norm0.weight`` end."""
    return [*(match.start() for match in re.finditer(r'\.', name)), len(name)]


def is_in(name: str, parts: Collection[str]) -> bool:
    """Returns whether a weight is one of the parts, or in one of them."""
    return any(name[:end] in parts for end in ends_of(name))
