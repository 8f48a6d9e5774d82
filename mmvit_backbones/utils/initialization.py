"""Initialization configs of MMEngine."""
from typing import Any

from mmengine.model import PretrainedInit


def with_own_pretrained(init_cfg: dict | list[dict] | None, own: str = 'PretrainedBackbone') -> list[dict]:
    """Returns MMEngine's ``init_cfg``, with one of the package's strict initializers for ``Pretrained``, last."""
    entries = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])
    pretrained = [entry for entry in entries if entry['type'] in ('Pretrained', PretrainedInit)]
    others = [entry for entry in entries if entry not in pretrained]
    return [*others, *({**entry, 'type': own} for entry in pretrained)]


def loading_part(init_cfg: Any) -> dict[str, Any]:
    """Returns the part of ``init_cfg`` by which MMEngine would load a checkpoint; empty if there is none."""
    parts = init_cfg if isinstance(init_cfg, list) else [init_cfg or {}]
    return next((part for part in parts if 'checkpoint' in part), {})
