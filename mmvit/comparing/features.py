"""Evaluates the frozen features of a network with k-NN classifiers and a linear probe."""
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import Tensor, nn

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import replaced_when_complete
from mmvit_backbones.utils.openmmlab_models import init_weights
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.loading import adapt, find_weights, load_weights, safe_loading

from ..inference.runtimes import build_model, find_device
from ..recipes import fine_tune
from ..recipes.networks import find_network
from ..utils.frameworks import quiet, use_framework
from ..utils.images import IGNORED
from ..utils.pytorch_errors import pytorch_errors_named
from .probes import check_neighbors, linear_probe, nearest_neighbors

PIXELS = 200  # per training image
REGULARIZATION = 0.001, 0.01, 0.1, 1.
Arrays = dict[str, np.ndarray]
Keep = Callable[[str, np.ndarray], None]


class FeatureReport(NamedTuple):
    """The accuracy of classifiers of frozen features, in percent.

    Attributes:
        about (str): What was classified, and the weights.
        nearest_neighbors (dict[int, float]): Top-1 accuracy by number of neighbors; empty for pixels.
        linear_probe (float): Top-1 accuracy, or mean IoU of pixels.
        regularization (float): scikit-learn's C of the linear probe.
        pixel_accuracy (float | None): Share of the pixels that the linear probe classifies correctly.
        arrays (dict[str, np.ndarray]): The features and labels; empty for pixels, whose maps may not fit in memory.
    """

    about: str
    nearest_neighbors: dict[int, float]
    linear_probe: float
    regularization: float
    pixel_accuracy: float | None
    arrays: Arrays

    def __str__(self) -> str:
        lines = [self.about, *(f'k-NN, k={k}: top-1 {value:.2f} %' for k, value in self.nearest_neighbors.items())]
        probe = f'linear probe, C={self.regularization:g}: '
        if self.pixel_accuracy is None:
            return '\n'.join([*lines, f'{probe}top-1 {self.linear_probe:.2f} %'])
        return '\n'.join([*lines, f'{probe}mIoU {self.linear_probe:.2f} %, {self.pixel_accuracy:.2f} % of the pixels'])


def evaluate_features(network: str | Mapping[str, Any], *, class_folder: str | None = None,
                      coco_folder: str | None = None, seg_folder: str | None = None, pretrained: bool | str = True,
                      size: int | Sequence[int] | None = None, val_fraction: float | None = None, split_seed: int = 0,
                      neighbors: Sequence[int] = (20, ), regularization: Sequence[float] = REGULARIZATION,
                      stages: Sequence[int] | None = None, save: str | Path | None = None, device: str | None = None
                      ) -> FeatureReport:
    """Evaluates the frozen features of a network on a folder of data, without augmentation.

    Both classifiers are fitted to the training images and evaluated on the validation images. The k-NN classifier
    weights each neighbor by exp(cosine similarity / 0.07), as in DINO (arXiv 2104.14294). The linear probe is a
    logistic regression on standardized features. With ``class_folder``, the features are the inputs of the network's
    last linear layer. With ``seg_folder``, the linear probe classifies pixels from maps, evaluated by mean IoU. With
    ``coco_folder``, both classifiers classify annotated boxes from the mean features in the box.

    Args:
        network (str | Mapping): As in :func:`~mmvit.recipes.fine_tune`.
        class_folder, coco_folder, seg_folder (str | None): The folder; exactly one.
        pretrained (bool | str): True for the published weights; a tag, file, URL or name of others. Defaults to True.
        size (int | Sequence[int] | None): As in :func:`~mmvit.recipes.fine_tune`.
        val_fraction (float | None): Fraction of the images for the evaluation if the folder has no split.
        split_seed (int): Seed of the split by ``val_fraction``. Defaults to 0.
        neighbors (Sequence[int]): Numbers of neighbors, which are evaluated separately. Defaults to (20, ).
        regularization (Sequence[float]): scikit-learn's C of the linear probe; three-fold cross-validation on the
            training images selects the best of several values. Defaults to (0.001, 0.01, 0.1, 1.).
        stages (Sequence[int] | None): Stages, from 0, whose maps are used for pixels and boxes. Defaults to None: the
            last two.
        save (str | Path | None): File (.npz) for features and labels; with ``seg_folder`` for the maps of all
            images in float16, with ``coco_folder`` for embeddings, labels and corners of the boxes.
        device (str | None): Device of the network, e.g. ``cuda:1``. Defaults to None: a GPU if there is one.

    Raises:
        UsageError: If an argument is invalid, the folder has unusable content, or scikit-learn is not installed.
        CheckpointError: If the weights cannot be read or are for another network.
    """
    if not find_spec('sklearn'):
        raise UsageError('evaluating features needs scikit-learn: pip install scikit-learn')
    if stages is not None and class_folder:
        raise UsageError('stages requires seg_folder or coco_folder, got class_folder')
    if save is not None and not str(save).endswith('.npz'):
        raise UsageError(f'save must end with .npz, got {save}')
    if not regularization or not all(strength > 0 for strength in regularization):
        raise UsageError(f'regularization must have values above 0, got {list(regularization)}')
    if not find_network(network, pretrained).is_pretrained:
        raise UsageError(f'{network} names no weights; set pretrained to a checkpoint')
    with TemporaryDirectory() as folder, safe_loading(), pytorch_errors_named(), npz_file(save) as keep:
        cfg = fine_tune(
            network, class_folder=class_folder, coco_folder=coco_folder, seg_folder=seg_folder, size=size,
            pretrained=pretrained, boxes_only=coco_folder is not None, val_fraction=val_fraction,
            split_seed=split_seed, out=folder)
        use_framework(cfg.default_scope)
        place = find_device(device)
        if class_folder:
            model = classifier_of(cfg, network, pretrained).to(place).eval()
            report = evaluate_images(model, Data(cfg, model.data_preprocessor), weights_of(cfg), neighbors,
                                     regularization)
        else:
            data = Data(cfg, MODELS.build(cfg.model.data_preprocessor).to(place))
            backbone: Any = MODELS.build(cfg.model.backbone)
            init_weights(backbone)
            maps = Maps(backbone.to(place).eval(), stages, data)
            about = f'stages {", ".join(map(str, maps.stages))}, weights: {weights_of(cfg)}'
            report = evaluate_boxes(maps, about, neighbors, regularization) if coco_folder else evaluate_pixels(
                maps, about, len(cfg.val_dataloader.dataset.metainfo.classes), regularization, keep)
        for name, values in report.arrays.items():
            keep(name, values)
        return report


@contextmanager
def npz_file(path: str | Path | None) -> Iterator[Keep]:
    """Yields a function that writes an array to a NumPy file at once, or drops it if there is no path."""
    if path is None:
        yield lambda name, values: None
        return
    with replaced_when_complete(path) as part, ZipFile(part, 'w') as archive:
        def keep(name: str, values: np.ndarray) -> None:
            with archive.open(f'{name}.npy', 'w', force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
        yield keep


class Data:
    """The training and validation images of a config of ``fine_tune``, both as in its validation."""

    def __init__(self, cfg: Config, preprocessor: nn.Module) -> None:
        pipeline = cfg.val_dataloader.dataset.pipeline
        datasets = dict(train={**cfg.train_dataloader.dataset, 'pipeline': pipeline}, test=cfg.val_dataloader.dataset)
        with quiet():  # pycocotools prints its steps
            self.loaders: dict[str, Any] = {
                split: Runner.build_dataloader({**cfg.val_dataloader, 'dataset': dataset})
                for split, dataset in datasets.items()}
        self.preprocessor = preprocessor

    def batches(self, split: str) -> Iterator[dict]:
        for batch in self.loaders[split]:
            yield self.preprocessor(batch, False)

    def name_of(self, split: str, sample: Any) -> str:
        """Returns an image's path in the folder of its split, with slashes, because subfolders may repeat names."""
        prefix = self.loaders[split].dataset.data_prefix
        return Path(os.path.relpath(sample.img_path, prefix.get('img_path') or prefix['img'])).as_posix()


def weights_of(cfg: Config) -> str:
    return (cfg.model.backbone.get('init_cfg') or {}).get('checkpoint') or 'its pretrained weights'


# ---- images


def classifier_of(cfg: Config, network: str | Mapping[str, Any], pretrained: bool | str) -> Any:
    """Builds a classifier with its weights; the recipe loads only those of the backbone, without the last norm."""
    model = build_model(cfg)
    init_weights(model)
    own = model.state_dict()
    if find_network(network, pretrained).variant and any(key.startswith('neck.') for key in own):
        source = weights_of(cfg)
        weights, _ = find_weights(model, read_checkpoint(source), source)
        kept = {key: value for key, value in weights.items() if not key.startswith('head.')}
        head = {key: value for key, value in own.items() if key.startswith('head.')}
        load_weights(model, adapt({**kept, **head}, model, source, new_head=False), source)
    return model


@torch.inference_mode()
def evaluate_images(model: Any, data: Data, weights: str, neighbors: Sequence[int], regularization: Sequence[float]
                    ) -> FeatureReport:
    check_neighbors(neighbors, len(data.loaders['train'].dataset))
    arrays: Arrays = {}
    for split in ('train', 'test'):
        features, labels = [], []
        for batch in data.batches(split):
            found = model.extract_feat(batch['inputs'], stage='pre_logits')
            features.append(found.tokens[:, 0] if hasattr(found, 'tokens') else found)  # Refiner-ViT's class token
            labels += [int(sample.gt_label) for sample in batch['data_samples']]
        arrays[split] = torch.cat(features).float().cpu().numpy()
        arrays[f'{split}_labels'] = np.array(labels)
    train = arrays['train']
    about = (f'{len(train)} training images, {len(arrays["test"])} test images, {train.shape[1]} features, weights: '
             f'{weights}')
    return classify(about, arrays, ('train', 'train_labels', 'test', 'test_labels'), neighbors, regularization)


def classify(about: str, arrays: Arrays, names: Sequence[str], neighbors: Sequence[int],
             regularization: Sequence[float]) -> FeatureReport:
    """Returns the report of both classifiers; ``names`` are those of the arrays for training and test."""
    train, labels, test, truth = (arrays[name] for name in names)
    check_neighbors(neighbors, len(train))
    probe, strength = linear_probe(train, labels, regularization)
    nearest = {k: 100 * nearest_neighbors(train, labels, test, truth, k) for k in neighbors}
    return FeatureReport(about, nearest, 100 * float(np.mean(probe.predict(test) == truth)), strength, None, arrays)


# ---- maps


class Maps:
    """The maps of chosen stages for each image.

    Raises:
        UsageError: If a stage does not exist.
    """

    def __init__(self, backbone: nn.Module, stages: Sequence[int] | None, data: Data) -> None:
        self.backbone, self.data = backbone, data
        with torch.inference_mode():
            number = len(backbone(torch.zeros(1, 3, 64, 64, device=next(backbone.parameters()).device)))
        self.stages = list(range(number))[-2:] if stages is None else list(stages)
        if not self.stages or not all(0 <= stage < number for stage in self.stages):
            raise UsageError(f'stages must be from 0 to {number - 1}, got {self.stages}')

    def __call__(self, split: str) -> Iterator[tuple[list[Tensor], Any]]:
        """Yields the maps ``(1, C, H, W)`` of the chosen stages, and the data sample, of each image of a split."""
        for batch in self.data.batches(split):
            maps = self.backbone(batch['inputs'])
            for index, sample in enumerate(batch['data_samples']):
                yield [maps[stage][index:index + 1].float() for stage in self.stages], sample

    def key(self, split: str, sample: Any) -> str:
        """Returns the name of an image's maps in files, such as ``train/folder/name``."""
        return f'{split}/{os.path.splitext(self.data.name_of(split, sample))[0]}'


@torch.inference_mode()
def evaluate_pixels(maps: Maps, about: str, num_classes: int, regularization: Sequence[float], keep: Keep
                    ) -> FeatureReport:
    """Fits a linear classifier to pixels of the training images, and evaluates it on those of the test images.

    The maps are resized to that of the first chosen stage and concatenated, and the scores are resized to the image.
    """
    from mmseg.evaluation import IoUMetric
    generator, vectors, labels = torch.Generator().manual_seed(0), [], []
    for levels, sample in maps('train'):
        joined, truth = join(levels), sample.gt_sem_seg.data
        grid = F.interpolate(truth[None].float(), size=joined.shape[1:]).flatten().long().cpu()
        known = (grid != IGNORED).nonzero().flatten()
        chosen = known[torch.randperm(len(known), generator=generator)[:PIXELS]]
        vectors.append(joined.flatten(1)[:, chosen].T)
        labels.append(grid[chosen])
        keep(maps.key('train', sample), joined.half().numpy())
    probe, strength = linear_probe(torch.cat(vectors).numpy(), torch.cat(labels).numpy(), regularization)
    areas = []
    for levels, sample in maps('test'):
        joined, truth = join(levels), sample.gt_sem_seg.data[0].cpu()
        scores = probe.decision_function(joined.flatten(1).T.numpy())
        if scores.ndim == 1:  # two classes
            scores = np.stack([-scores, scores], axis=1)
        scores = torch.from_numpy(scores.T).reshape(1, -1, *joined.shape[1:])
        best = F.interpolate(scores, size=truth.shape, mode='bilinear', align_corners=False)[0].argmax(0)
        predicted = torch.from_numpy(probe.classes_)[best]
        areas.append(IoUMetric.intersect_and_union(predicted, truth, num_classes, IGNORED))
        keep(maps.key('test', sample), joined.half().numpy())
    hits, union, _, pixels = (torch.stack(parts).double().sum(0) for parts in zip(*areas))
    return FeatureReport(about, {}, 100 * (hits / union).nanmean().item(), strength,
                         100 * (hits.sum() / pixels.sum()).item(), {})


def join(maps: list[Tensor]) -> Tensor:
    """Returns the concatenated maps ``(C, H, W)`` on the CPU, in the size of the first."""
    size = maps[0].shape[2:]
    resized = [F.interpolate(x, size=size, mode='bilinear', align_corners=False) for x in maps]
    return torch.cat(resized, 1)[0].cpu()


@torch.inference_mode()
def evaluate_boxes(maps: Maps, about: str, neighbors: Sequence[int], regularization: Sequence[float]) -> FeatureReport:
    """Classifies the mean features in annotated boxes."""
    from mmcv.ops import roi_align
    arrays: Arrays = {}
    for split in ('train', 'test'):
        vectors, labels, boxes, names = [], [], [], []
        for levels, sample in maps(split):
            found = sample.gt_instances
            corners = getattr(found.bboxes, 'tensor', found.bboxes).to(levels[0])
            scale = levels[0].new_tensor(sample.scale_factor).repeat(2)
            rois = torch.cat([corners.new_zeros(len(corners), 1), corners * scale], 1)
            height = sample.batch_input_shape[0]
            vectors.append(torch.cat([
                roi_align(x, rois, (7, 7), x.shape[2] / height, 2, 'avg', True).mean((2, 3)) for x in levels], 1).cpu())
            labels.append(found.labels.cpu())
            boxes.append(corners.cpu())
            names += [maps.data.name_of(split, sample)] * len(corners)
        values = torch.cat(vectors).numpy(), torch.cat(labels).numpy(), torch.cat(boxes).numpy(), np.array(names)
        arrays |= dict(zip((f'{split}_embeddings', f'{split}_labels', f'{split}_boxes', f'{split}_images'), values))
    train = arrays['train_embeddings']
    about += (f'\n{len(train)} training boxes, {len(arrays["test_embeddings"])} test boxes, {train.shape[1]} features')
    return classify(about, arrays, ('train_embeddings', 'train_labels', 'test_embeddings', 'test_labels'), neighbors,
                    regularization)
