"""Patch embedding (ViT, Dosovitskiy et al., ICLR 2021, arXiv 2010.11929, section 3.1)."""
import torch
from torch import Tensor, nn

from ..ops.window import pad_images
from .position_embedding import PositionEmbedding


class PatchEmbed(nn.Module):
    """Embeds square patches of images as a map of tokens.

    Args:
        patch_size (int): Side of a patch, in pixels.
        norm_eps (float | None): Epsilon of a LayerNorm on the tokens. None omits the norm.
    """

    def __init__(self, in_channels: int, channels: int, patch_size: int, norm_eps: float | None = None) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_channels, channels, patch_size, stride=patch_size)
        self.norm = nn.Identity() if norm_eps is None else nn.LayerNorm(channels, eps=norm_eps)

    def forward(self, images: Tensor) -> Tensor:
        """Pads images ``(B, in_channels, H, W)`` to whole patches, and maps them to ``(B, h, w, channels)``."""
        x = self.proj(pad_images(images, self.patch_size))
        return self.norm(x.permute(0, 2, 3, 1))


class TokenEmbed(nn.Module):
    """Embeds square patches of images as a sequence of tokens, and adds learned position embeddings.

    Args:
        patch_size (int): Side of a patch, in pixels.
        img_size (int): Side of the square images whose grid of position embeddings is stored, in pixels.
        class_token (bool): Whether the sequence starts with a class token.

    Raises:
        ValueError: If ``img_size`` is smaller than 1.
    """

    def __init__(self, in_channels: int, channels: int, patch_size: int, img_size: int, class_token: bool) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_channels, channels, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.empty(1, 1, channels)) if class_token else None
        self.positions = PositionEmbedding(channels, patch_size, img_size, class_token)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.class_token is not None:
            nn.init.zeros_(self.class_token)

    def forward(self, images: Tensor) -> tuple[Tensor, int, int]:
        """Pads images ``(B, in_channels, H, W)`` to whole patches and embeds them.

        Returns:
            tuple[Tensor, int, int]: Tokens ``(B, [1 +] h * w, C)``, and the rows ``h`` and columns ``w`` of patches.
        """
        x = self.proj(pad_images(images, self.patch_size))
        height, width = x.shape[2:]
        tokens = x.permute(0, 2, 3, 1).flatten(1, 2)
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(x.shape[0], -1, -1), tokens], dim=1)
        return self.positions(tokens, height, width), height, width
