"""Initialization configs of MMEngine."""
from typing import Any

from mmengine.model import PretrainedInit


def with_own_pretrained(init_cfg: dict | list[dict] | None, own: str = 'PretrainedBackbone') -> list[dict]:
    """Returns MMEngine's ``init_cfg``, with one of the package's strict initializers for ``Pretrained``, last."""
    entries = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])
    pretrained = [entry for entry in entries if entry['type'] in ('Pretrained', PretrainedInit)]
    others = [entry for entry in entries if entry not in pretrained]
    return [*others, *({**entry, 'type': own} for entry in pretrained)]


def loads_weights(init_cfg: Any) -> bool:
    """Returns whether MMEngine would initialize a module by a checkpoint."""
    parts = init_cfg if isinstance(init_cfg, list) else [init_cfg or {}]
    return any('checkpoint' in part for part in parts)
