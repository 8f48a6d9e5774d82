"""Writes converted classifiers as folders for Hugging Face's hub."""
from importlib.util import find_spec
from pathlib import Path

from ..errors import CheckpointError, UsageError
from ..zoo.building import has_img_size
from ..zoo.convert import read_converted
from ..zoo.loading import IMAGENET_CLASSES, load_weights
from ..zoo.variants import find_networks
from .huggingface import MMViTConfig, MMViTForImageClassification


def convert_to_folder(source: str, out: str | Path, network: str | None = None, tag: str | None = None) -> str:
    """Converts a classifier's weights to a folder for a hub, and returns a description of it.

    The folder has the weights, and the config and image processor of Transformers.

    Args:
        source (str): A network's published weights, ``NAME`` or ``NAME/TAG``, which are downloaded if necessary; or a
            path or URL of the authors' file.
        out (str | Path): A new or empty folder.
        network (str | None): Network of a file. Defaults to None: recognized by the names and shapes of the weights.
        tag (str | None): For a file, the side of the training images in pixels, or ``'22k'``. Defaults to None: the
            network's image size.

    Raises:
        UsageError: If an argument is invalid.
        CheckpointError: If the weights are unavailable, or are not those of a classifier.
    """
    folder = Path(out)
    if folder.is_file() or folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f'out must be a new or empty folder, got {out}')
    weights, variant, tag, origin = read_converted(source, network, tag)
    if variant is None:
        matching = ', '.join(find_networks(weights)) or 'no network'
        raise UsageError(f'network is required for {source}, because its weights match {matching}')
    if 'head.fc.weight' not in weights:
        raise CheckpointError(f'{origin} has no classifier; convert its weights to a file')
    side, num_classes = int(tag) if tag.isdigit() else variant.img_size, len(weights['head.fc.weight'])
    backbone = dict(variant.backbone, img_size=side) if has_img_size(variant) else variant.backbone
    config = MMViTConfig(backbone, network=variant.name, image_size=side, **class_names(num_classes))
    model = MMViTForImageClassification(config)
    load_weights(model.model, weights, origin, strict=True)
    model.save_pretrained(folder, max_shard_size='100GB')
    return f'{folder}: {", ".join(sorted(path.name for path in folder.iterdir()))}'


def class_names(num_classes: int) -> dict:
    """Returns arguments of MMViTConfig: ImageNet's class names if mmpretrain is installed, or only their number."""
    if num_classes != IMAGENET_CLASSES or not find_spec('mmpretrain'):
        return dict(num_labels=num_classes)
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
    return dict(id2label=dict(enumerate(IMAGENET_CATEGORIES)),
                label2id={name: number for number, name in enumerate(IMAGENET_CATEGORIES)})
