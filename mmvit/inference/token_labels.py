"""Generates token labels for the images in a folder: the classes that a classifier predicts at each position."""
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.registry import init_default_scope
from PIL import Image
from torch import Tensor

from mmvit_backbones.backbones.refiner_vit import TokenFeatures
from mmvit_backbones.datasets.token_label_maps import TOP_K
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import check_outputs, replaced_when_complete
from mmvit_backbones.utils.image_sizes import height_and_width
from mmvit_backbones.utils.installation import install_command
from mmvit_backbones.zoo.building import import_mmpretrain
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.loading import find_weights, load_weights, safe_loading
from mmvit_backbones.zoo.reading import find_checkpoint

from ..configs.files import is_config, read_config
from ..utils.images import SUFFIXES, read_rgb
from .runtimes import build_model, find_device

if TYPE_CHECKING:
    from mmpretrain.models import ImageClassifier


Annotate = Callable[[Tensor], Tensor]  # maps RGB images (B, 3, height, width), uint8, to scores (B, num_classes, H, W)


def write_token_labels(images: str | Path, out: str | Path, model: str, checkpoint: str | None = None,
                       size: int | Sequence[int] = 224, batch_size: int = 16,
                       device: str | torch.device | None = None) -> Iterator[str]:
    """Writes token labels for a folder of images, except for those that have them, and yields lines about the progress.

    The labels of ``IMAGES/CLASS/NAME.jpg`` are a tensor ``(2, 5, H, W)`` in ``OUT/CLASS/NAME.pt``: the five highest
    scores at each position of the classifier's last feature map, and their class indices.

    Args:
        images (str | Path): Folder with one folder of images per class.
        out (str | Path): Folder for the token labels.
        model (str): Classifier: ``timm:NAME``, or a config of mmpretrain: its file, or its name in this package.
        checkpoint (str | None): Weights of the classifier. Defaults to None: the pretrained weights of timm.
        size (int | Sequence[int]): Side of the square images in pixels, or height and width. Defaults to 224.
        batch_size (int): Images per batch. Defaults to 16.
        device (str | torch.device | None): Device of the classifier. Defaults to None: a GPU if there is one.

    Raises:
        UsageError: If an argument is invalid, or the classifier returns no feature maps or does not support the size.
        CheckpointError: If the checkpoint is unavailable or does not match the classifier.
    """
    height, width = height_and_width(size)
    targets, device = plan(Path(images), Path(out)), find_device(device)
    check_outputs('out', targets.values(), [*targets, model, checkpoint and find_checkpoint(checkpoint)])
    annotate = build(model, checkpoint, device)
    try:
        yield from write_missing(targets, annotate, (height, width), batch_size, device)
    except AssertionError as error:  # raised by networks of timm and mmpretrain with a fixed size
        raise UsageError(f'{model} does not support images of {height} x {width} pixels: {error}') from None


def write_missing(targets: dict[Path, Path], annotate: Annotate, size: tuple[int, int], batch_size: int,
                  device: torch.device) -> Iterator[str]:
    """Writes the label files of :func:`plan` that are missing; see :func:`write_token_labels`."""
    missing = [(path, file) for path, file in targets.items() if not file.exists()]
    yield f'{len(targets)} images, {len(targets) - len(missing)} already have token labels'
    for i in range(0, len(missing), batch_size):
        batch = missing[i:i + batch_size]
        images = torch.stack([read(path, *size) for path, _ in batch]).to(device)
        for labels, (_, file) in zip(strongest(annotate(images)), batch):
            save(labels, file)
        yield f'{min(i + batch_size, len(missing))} of {len(missing)} token labels written'


def plan(images: Path, out: Path) -> dict[Path, Path]:
    """Returns the label file of every image."""
    found = sorted(path for path in images.glob('*/*') if path.suffix.lower() in SUFFIXES)
    if not found:
        raise UsageError(f'{images} has no images CLASS/NAME; allowed suffixes are {", ".join(SUFFIXES)}')
    targets = {path: out / path.parent.name / f'{path.stem}.pt' for path in found}
    if len(set(targets.values())) < len(targets):
        raise UsageError(f'{images} has images of one class whose names differ only in the suffix')
    return targets


def read(path: Path, height: int, width: int) -> Tensor:
    """Reads an image as RGB ``(3, height, width)``, uint8."""
    image = read_rgb(path).resize((width, height), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def strongest(scores: Tensor) -> Iterator[Tensor]:
    """Yields ``(2, 5, H, W)`` per image from scores ``(B, num_classes, H, W)``."""
    values, classes = scores.float().topk(min(TOP_K, scores.shape[1]), dim=1)
    return iter(torch.stack([values, classes.to(values.dtype)], dim=1).cpu())


def save(labels: Tensor, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    torch.save(labels.clone(), content)  # a view would save the storage of the whole batch
    with replaced_when_complete(file) as part:
        part.write_bytes(content.getbuffer())


@safe_loading()
def build(name: str, checkpoint: str | None, device: torch.device) -> Annotate:
    """Returns a classifier's scores at each position; the arguments are those of :func:`write_token_labels`."""
    if name.startswith('timm:'):
        return build_timm(name.removeprefix('timm:'), checkpoint, device)
    if not is_config(name):
        raise UsageError(f'model must be timm:NAME, or the file or name of a config, got {name}')
    file = require_weights(name, checkpoint)
    try:
        import_mmpretrain()
    except ImportError:
        raise UsageError(f'{name} needs mmpretrain: {install_command("mmpretrain")}, or use timm:NAME') from None
    from mmpretrain.models import ImageClassifier
    init_default_scope('mmpretrain')
    model = build_model(read_config(name))
    load_weights(model, find_weights(model, read_checkpoint(file), file)[0], file)
    if not isinstance(model, ImageClassifier):
        raise UsageError(f'{name} must be an ImageClassifier of mmpretrain, got a {type(model).__name__}')
    use_feature_maps(model.backbone)
    model.to(device).eval()
    return partial(annotate, model)


def require_weights(name: str, weights: str | None) -> str:
    if weights is None:
        raise UsageError(f'{name} requires --checkpoint, because it has no default weights')
    return weights


def use_feature_maps(backbone: Any) -> None:
    """Makes mmpretrain's backbones return maps, if by default they return a vector per image."""
    if getattr(backbone, 'out_type', None) in ('cls_token', 'avg_featmap'):
        backbone.out_type = 'featmap'
    if getattr(backbone, 'gap_before_final_norm', False):  # ConvNeXt
        backbone.gap_before_final_norm = False


@torch.no_grad()
def annotate(model: 'ImageClassifier', images: Tensor) -> Tensor:
    """Returns scores ``(B, num_classes, H, W)`` of an mmpretrain classifier for RGB images."""
    bgr = images.flip(1)
    return dense_scores(model, model.data_preprocessor(dict(inputs=bgr))['inputs'])


def dense_scores(model: Any, inputs: Tensor) -> Tensor:
    """Returns scores ``(B, num_classes, H, W)`` of an mmpretrain classifier for normalized images."""
    features = model.extract_feat(inputs, stage='backbone')[-1]
    head = model.head
    if isinstance(features, TokenFeatures):
        patches = head.logits((features, ))[1]
        patches = head.fc(features.tokens[:, 1:]) if patches is None else patches
        return patches.transpose(1, 2).unflatten(2, features.grid)
    if features.ndim != 4:
        raise UsageError(f'{type(model.backbone).__name__} must return a map (B, C, H, W), got the shape '
                         f'{tuple(features.shape)}')
    batch, _, height, width = features.shape
    positions = features.permute(0, 2, 3, 1).flatten(0, 2)
    vectors = model.neck((positions[:, :, None, None], )) if model.with_neck else (positions, )
    return head(vectors).view(batch, height, width, -1).permute(0, 3, 1, 2)


def build_timm(name: str, checkpoint: str | None, device: torch.device) -> Annotate:
    try:
        import timm
    except ImportError:
        raise UsageError(f'timm:{name} needs timm: pip install timm') from None
    if not timm.is_model(name.split('.')[0]):
        raise UsageError(f'timm has no model {name}')
    if not timm.is_model_pretrained(name):
        require_weights(f'timm:{name}', checkpoint)
    logging.getLogger('huggingface_hub').setLevel(logging.ERROR)  # offline, huggingface_hub logs every retry
    model = timm.create_model(name, pretrained=checkpoint is None)
    if checkpoint is not None:
        load_weights(model, find_weights(model, read_checkpoint(checkpoint), checkpoint, layouts=())[0], checkpoint)
    return partial(annotate_by_timm, model.to(device).eval())


@torch.no_grad()
def annotate_by_timm(model: Any, images: Tensor) -> Tensor:
    """Returns scores ``(B, num_classes, H, W)`` of a timm classifier for RGB images."""
    statistics = model.pretrained_cfg
    mean, std = (torch.tensor(statistics[key], device=images.device).view(3, 1, 1) for key in ('mean', 'std'))
    features = model.forward_features((images / 255 - mean) / std)
    if features.ndim == 3:  # the first tokens, such as the class token, have no position
        extra = getattr(model, 'num_prefix_tokens', 0)
        side = round((features.shape[1] - extra)**0.5)
        maps = features[:, extra:].unflatten(1, (side, side))
        positions = maps.flatten(0, 2)[:, None].expand(-1, 1 + extra, -1)
    else:
        is_channels_last = getattr(model, 'output_fmt', 'NCHW') == 'NHWC'
        maps = features if is_channels_last else features.permute(0, 2, 3, 1)
        positions = maps.flatten(0, 2)[:, None, None]
        positions = positions if is_channels_last else positions.permute(0, 3, 1, 2)
    scores = model.forward_head(positions)
    return scores.view(*maps.shape[:3], -1).permute(0, 3, 1, 2)

