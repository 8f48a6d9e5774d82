"""Initialization configs of MMEngine."""
from mmengine.model import PretrainedInit


def with_own_pretrained(init_cfg: dict | list[dict] | None, own: str = 'PretrainedBackbone') -> list[dict]:
    """Returns MMEngine's ``init_cfg``, with one of the package's strict initializers for ``Pretrained``, last."""
    entries = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])
    pretrained = [entry for entry in entries if entry['type'] in ('Pretrained', PretrainedInit)]
    others = [entry for entry in entries if entry not in pretrained]
    return [*others, *({**entry, 'type': own} for entry in pretrained)]
