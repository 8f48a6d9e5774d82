"""Writes a network by name as ONNX."""
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mmvit_backbones.errors import UsageError
from mmvit_backbones.export.onnx_export import check_opset, export_onnx
from mmvit_backbones.utils.file_access import replaced_when_complete
from mmvit_backbones.utils.image_sizes import height_and_width
from mmvit_backbones.zoo.building import get_model

from .agreement import compare_in_runtimes
from .differences import compare_onnx
from .files import ExportedFile, check_packages, progress, size_of_file
from .whole_models import COMPANIONS, check_path, store_deviations

LIMITS = dict(difference=1e-3)  # ResT's instance norm amplifies rounding with random weights; others differ by 1e-5
SIZES = (224, 224), (160, 224), (75, 101)  # height, width; supported by all networks


def write_network(network: str, path: Path, checkpoint: str | None, pretrained: bool | str,
                  task: Literal['classification', 'backbone'], opset: int, size: int | Sequence[int] | None,
                  allow_accuracy_drop: bool) -> ExportedFile:
    """Writes a network by name, as :func:`export_model`, and compares the file with PyTorch on random images."""
    import onnx
    check_packages()
    check_path(path, [checkpoint])
    check_opset(opset)
    sizes = SIZES if size is None else [height_and_width(size)]
    try:
        model = get_model(network, task, checkpoint, pretrained)
    except ImportError as error:  # of mmpretrain
        raise UsageError(str(error)) from error
    with replaced_when_complete(path, COMPANIONS) as partial:
        with progress('exporting the network'):
            export_onnx(model, partial, opset, None if size is None else sizes[0])
        onnx.checker.check_model(str(partial))  # by path, because models over 1.5 GB have several files
        agreement = compare_in_runtimes(
            path, lambda runtime: dict(difference=max(compare_onnx(model, partial, sizes, runtime).values())), LIMITS,
            allow_accuracy_drop)
        store_deviations(partial, agreement)
    images = ', '.join(f'{height} x {width}' for height, width in sizes)
    return ExportedFile(path, size_of_file(path), f'random images of {images} pixels (height x width)', agreement)
