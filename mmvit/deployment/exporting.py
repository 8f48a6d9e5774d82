"""Exports trained models with their preprocessing to ONNX, and compares the files with PyTorch."""
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from mmvit_backbones.errors import UsageError
from mmvit_backbones.export.graphs import COMPANIONS, save, to_onnx
from mmvit_backbones.utils.file_access import check_outputs, replaced_when_complete
from mmvit_backbones.version import __version__
from mmvit_backbones.zoo.reading import find_checkpoint

from ..configs.official import source_of
from ..inference.runtimes import DETAILS, PyTorchModel
from ..naming import EXPORTED_SUFFIX, resolve
from ..running.run_folder import RunFolder
from ..utils.shell import console_of
from .agreement import Agreement, compare_in_runtimes
from .differences import PyTorchOutputs
from .examples import examples_of, join
from .parts import Parts, exported_geometry, take_apart
from .sample_images import images_to_compare


@dataclass
class ExportedFile:
    """A file that was written, and how it agrees with PyTorch.

    Attributes:
        path (Path): The file; weights of more than 1.5 GB are in ``PATH.data``.
        compared_on (str): What the outputs were compared on, e.g. ``'8 images'``.
        agreement (dict[str, Agreement]): By runtime.
    """

    path: Path
    compared_on: str
    agreement: dict[str, Agreement]

    @property
    def size(self) -> float:
        """Returns the MiB of the file and of its weights in ``PATH.data``."""
        files = [Path(f'{self.path}{suffix}') for suffix in ('', *COMPANIONS)]
        return sum(file.stat().st_size for file in files if file.exists()) / 2**20

    def __str__(self) -> str:
        lines = [f'{self.path}: {self.size:.1f} MiB; compared with PyTorch on {self.compared_on}']
        lines += [f'{runtime}: {found.figures}' for runtime, found in self.agreement.items()]
        lines += [f'warning: in {runtime}, the file differs from PyTorch: {found.deviation}'
                  for runtime, found in self.agreement.items() if found.deviation]
        return '\n'.join(lines)


def export_model(model: str | Path | None, path: str | Path, *, config: str | None = None,
                 pretrained: bool | str = False, cfg_options: dict | None = None, images: Sequence[str | Path] = (),
                 allow_accuracy_drop: bool = False) -> ExportedFile:
    """Exports a trained classifier, segmenter or detector with its preprocessing, and compares the file with PyTorch.

    The file is written if it agrees with PyTorch in ONNX Runtime. What other installed runtimes deviate is said.

    Args:
        model (str | Path | None): The work dir of a training, for its best checkpoint; a file or a URL of a checkpoint;
            or None with ``config`` and ``pretrained``.
        path (str | Path): File to write, with the suffix ``.onnx``.
        config (str | None): Config file, or the name of a config. Defaults to None, which uses the one inside the
            checkpoint.
        pretrained (bool | str): True to load the authors' weights, or the tag of other published weights. Defaults to
            False.
        cfg_options (dict | None): Settings that replace those of the config, e.g. ``{'model.test_cfg.mode': 'whole'}``.
        images (Sequence[str | Path]): Image files and folders for the comparison. Defaults to (): the config's test
            set, if it exists; else generated images.
        allow_accuracy_drop (bool): Whether to write the file even if it differs from PyTorch by more than the limits
            in ONNX Runtime. Defaults to False.

    Raises:
        UsageError: If an argument is invalid, the model cannot be exported, the file cannot be written, or its outputs
            differ from PyTorch in ONNX Runtime.
        CheckpointError: If the checkpoint is unavailable or does not match the config.
    """
    check_packages()
    path, source = Path(path), None if model is None else str(model)
    if source:
        resolve(source, 'export')
    check_path(path, [source, config, *images])
    if not source and not config:
        raise UsageError('pass the work dir of a training or a checkpoint, or a config (--config) with '
                         'pretrained=True (--pretrained)')
    run = RunFolder.open(config or str(source), ('model', 'test_dataloader'), cfg_options, mmap=False)
    cfg, checkpoint = run.config, run.file or source and find_checkpoint(source)
    exported_geometry(cfg)  # refuses before weights are downloaded
    reference = PyTorchModel(cfg, source_of(cfg, checkpoint, pretrained), state=run.checkpoint)
    parts = take_apart(reference.module, cfg)
    compared, origin = images_to_compare(cfg, images)
    console = console_of(sys.stderr)
    with console.status(f'predicting {len(compared)} images with PyTorch'):
        outputs = PyTorchOutputs(reference, compared, parts.preprocess)
    if outputs.is_empty and not allow_accuracy_drop:
        raise UsageError(f'the model finds no instances in the {len(compared)} images of the comparison; pass images '
                         '(--images) with objects of its classes')
    with replaced_when_complete(path, COMPANIONS) as partial:
        with console.status('exporting the model'):
            write_parts(parts, partial, reference.details)
        agreement = compare_in_runtimes(path, lambda runtime: outputs.compare(partial, runtime), allow_accuracy_drop)
    return ExportedFile(path, origin, agreement)


def check_packages() -> None:
    """Raises UsageError if a package for exports is not installed."""
    if missing := [name for name in ('onnx', 'onnxruntime', 'onnxscript') if find_spec(name) is None]:
        raise UsageError(f"exports need {' and '.join(missing)}: pip install 'mmvit_backbones[export]'")


@torch.no_grad()
def write_parts(parts: Parts, path: Path, details: dict) -> None:
    """Writes a model as ONNX, and its details into the metadata of the file.

    Args:
        parts (Parts): The model, from :func:`take_apart`.
        path (Path): File to write; weights of more than 1.5 GB are written to ``PATH.data``.
        details (dict): ``task``, ``classes`` and others, see docs/export.md.
    """
    program = join({name: to_onnx(**each) for name, each in examples_of(parts).items()})
    versions = f'mmvit_backbones {__version__}, torch {torch.__version__}'
    program.model.metadata_props[DETAILS] = json.dumps(dict(details, version=versions))
    save(program, path)


def check_path(path: Path, reads: Iterable[object]) -> None:
    """Raises UsageError if a file cannot be written, its suffix is not ``.onnx``, or it is a file that is read."""
    if path.suffix != EXPORTED_SUFFIX:
        raise UsageError(f'the file to write must have the suffix {EXPORTED_SUFFIX}, got {path}')
    folder = path.absolute().parent
    if not os.access(folder, os.W_OK) or path.is_dir():
        raise UsageError(f'{path} cannot be written: it is a folder, or {folder} does not exist or is not writable')
    check_outputs('path', (f'{path}{suffix}' for suffix in ('', *COMPANIONS)), reads)
