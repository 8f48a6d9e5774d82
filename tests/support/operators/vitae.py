"""Goldens of plain ViTAE: the authors' stages of a network without stages."""
import torch


def details(model: torch.nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Returns the map and the class token of each of the authors' stages if the network is plain.

    The first two stages have no cells.
    """
    backbone = model.backbone
    if not backbone.is_plain:
        return {}
    embedded, height, width = backbone.patch_embed(images)
    tokens = embedded
    for cell in backbone.cells:
        tokens = cell(tokens, height, width)
    maps = {f'stage{i}': x[:, 1:].transpose(1, 2).unflatten(2, (height, width))
            for i, x in enumerate((embedded, embedded, tokens), start=1)}
    return {**maps, **{f'stage{i}_cls': x[:, 0] for i, x in enumerate((embedded, embedded, tokens), start=1)}}


DETAILS = {'ViTAE': details}
