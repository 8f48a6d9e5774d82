"""Writes a trained model with its preprocessing as ONNX."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import replaced_when_complete
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.reading import find_checkpoint

from ..configs.backbone import build_on_meta
from ..configs.files import config_of
from ..configs.official import source_of
from ..inference.metric import metric_of
from ..inference.runtimes import REFERENCE, Exported, PyTorchModel
from ..inference.sources import find_images
from .agreement import REMEDY, agreement_of, check_reference, compare_in_runtimes
from .differences import EXACT, LOSSY, PyTorchOutputs, inputs_of
from .files import ExportedFile, check_packages, progress, size_of_file
from .parts import Half, Parts, exported_geometry, split
from .quantize import to_int8
from .sample_images import CALIBRATION_IMAGES, has_test_set, images_to_compare, read
from .whole_models import COMPANIONS, check_path, store_deviations, write_parts

METRIC_DROP = 0.01  # largest drop of the metric by int8, as a share


def write_trained_model(checkpoint: str | None, path: Path, *, config: str | None, pretrained: bool | str,
                        cfg_options: dict | None, preprocessing: bool, images: Sequence[str | Path], fp16: bool,
                        int8: str | Path | None, allow_accuracy_drop: bool) -> ExportedFile:
    """Writes a classifier, segmenter or detector, as :func:`export_model`, and compares the file's predictions."""
    check_packages()
    if fp16 and int8:
        raise UsageError(f'pass either fp16 or int8, got fp16={fp16} and int8={int8}')
    source, checkpoint = checkpoint, checkpoint and find_checkpoint(checkpoint)
    check_path(path, [checkpoint, config, *images])
    cfg = config_of(config, source, ('model', 'test_dataloader'), cfg_options)
    checkpoint = source_of(cfg, checkpoint, pretrained)
    exported_geometry(cfg)
    build_on_meta(cfg)
    read_checkpoint(checkpoint, mmap=True)
    uses_test_set = not images and has_test_set(cfg)
    compared, origin = images_to_compare(cfg if uses_test_set else None, images, int8)
    calibration = read(find_images([int8])[::2], CALIBRATION_IMAGES) if int8 else []
    reference = PyTorchModel(cfg, checkpoint)
    parts = split(reference.module, cfg, preprocessing)
    with progress(f'predicting {len(compared)} images with PyTorch'):
        outputs = PyTorchOutputs(reference, compared, parts.preprocess)
    if outputs.is_empty and not allow_accuracy_drop:
        raise UsageError(f'the model finds no instances in the {len(compared)} images of the comparison; pass --images '
                         'with objects of its classes')
    precision = 'int8' if int8 else 'float16' if fp16 else 'float32'
    details, notes = dict(reference.details, precision=precision), []
    with replaced_when_complete(path, COMPANIONS) as partial:
        write_with_progress(parts, partial, details)
        if fp16 or int8:  # the float32 file shows whether the export or the precision is at fault
            check_reference(path, agreement_of(outputs.compare(partial, EXACT, REFERENCE), EXACT),
                            allow_accuracy_drop)
        if fp16:
            write_with_progress(parts._replace(network=Half(parts.network)), partial, details)
        elif int8:
            notes = quantize(cfg if uses_test_set and preprocessing else None, parts, partial,
                             inputs_of(reference, calibration, preprocessing), path, allow_accuracy_drop)
        limits = LOSSY if fp16 or int8 else EXACT
        agreement = compare_in_runtimes(
            path, lambda runtime: outputs.compare(partial, limits, runtime), limits, allow_accuracy_drop)
        store_deviations(partial, agreement)
    return ExportedFile(path, size_of_file(path), origin, agreement, notes)


def write_with_progress(parts: Parts, partial: Path, details: dict) -> None:
    with progress(f'exporting the model in {"float16" if isinstance(parts.network, Half) else "float32"}'):
        write_parts(parts, partial, details)


def quantize(cfg: Config | None, parts: Parts, partial: Path, samples: list[np.ndarray], path: Path,
             allow_accuracy_drop: bool) -> list[str]:
    """Quantizes a file in place, and returns how many layers are in int8 and the metrics before and after.

    Args:
        cfg (Config | None): Config whose test set is used for the metric, or None for no metric.
        parts (Parts): Parts of the model.
        partial (Path): The file.
        samples (list[np.ndarray]): Inputs for calibration.
        path (Path): Where the file will be, for messages.
        allow_accuracy_drop (bool): Whether the metric may fall by more than 1 %.

    Raises:
        UsageError: If the metric falls by more than 1 %.
    """
    def metric() -> dict:
        return metric_of(cfg, Exported(partial, device='cpu').run) if cfg else {}

    before = metric()
    batched = parts.takes == 'images' and parts.preprocess
    with progress('quantizing the model'):
        chosen = to_int8(partial, [image[None] for image in samples] if batched else samples, parts.takes)
    return [chosen] + ([change_of_metric(path, before, metric(), allow_accuracy_drop)] if cfg else [])


def change_of_metric(path: Path, before: dict, after: dict, allow_accuracy_drop: bool) -> str:
    """Returns the metrics of the test set before and after quantization; raises UsageError if they differ too much."""
    text = f'{before["metric"]} of the test set is {before["value"]:.4g} in float32 and {after["value"]:.4g} in int8'
    if not allow_accuracy_drop and after['value'] < (1 - METRIC_DROP) * before['value']:
        raise UsageError(f'{path} was not written: {text}, a drop of more than {METRIC_DROP:.0%}; {REMEDY}')
    return text
