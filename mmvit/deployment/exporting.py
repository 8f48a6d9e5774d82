"""Exports trained models and networks by name to ONNX, and compares the files with PyTorch."""
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal

from mmvit_backbones.errors import UsageError
from mmvit_backbones.export.graphs import OPSET
from mmvit_backbones.zoo.variants import VARIANTS

from ..configs.files import path_hint
from ..utils.distributed import warn
from .checkpoint import write_trained_model
from .files import ExportedFile
from .network import write_network

FOR_NETWORKS = 'checkpoint', 'task', 'opset', 'size'
FOR_TRAINED_MODELS = 'config', 'cfg_options', 'preprocessing', 'images', 'fp16', 'int8'


def export_model(model: str | Path | None, path: str | Path, *, pretrained: bool | str = False,
                 allow_accuracy_drop: bool = False, checkpoint: str | None = None,
                 task: Literal['classification', 'backbone'] = 'backbone', opset: int = OPSET,
                 size: int | Sequence[int] | None = None, config: str | None = None, cfg_options: dict | None = None,
                 preprocessing: bool = True, images: Sequence[str | Path] = (), fp16: bool = False,
                 int8: str | Path | None = None) -> ExportedFile:
    """Exports a trained model with its preprocessing, or a network by name, and compares the file with PyTorch.

    The file is written if it agrees with PyTorch in ONNX Runtime. What other installed runtimes deviate is stored in
    its metadata; :class:`mmvit.inference.Predictor` warns if such a runtime is chosen.

    Args:
        model (str | Path | None): The work dir of a training, for its best checkpoint; a file or a URL of a checkpoint;
            None with ``config`` and ``pretrained``; or one of :func:`list_models`, whose input are normalized images.
        path (str | Path): File to write.
        pretrained (bool | str): True to load the authors' weights, or the tag of other published weights. Defaults to
            False.
        allow_accuracy_drop (bool): Whether to write the file even if it differs from PyTorch by more than the limits
            in ONNX Runtime, or int8 reduces the metric of the test set by more than 1 %. Defaults to False.
        checkpoint (str | None): Weights of a network. Defaults to None: those of ``pretrained``, or random ones.
        task (str): For a network: ``'classification'`` exports the classifier, ``'backbone'`` only its backbone.
            Defaults to ``'backbone'``.
        opset (int): For a network: version of the ONNX operators, at least 18. Defaults to 18.
        size (int | Sequence[int] | None): For a network: side of all images, or height and width, in pixels. Defaults
            to None: images have any size, and three sizes are compared.
        config (str | None): Config file, or the name of a config. Defaults to None, which uses the config that the
            training saved beside the checkpoint.
        cfg_options (dict | None): Settings that replace those of the config, e.g. ``{'model.test_cfg.mode': 'whole'}``.
        preprocessing (bool): Whether the file resizes and normalizes images. Defaults to True.
        images (Sequence[str | Path]): Image files and folders for the comparison. Defaults to (): the config's test
            set, if it exists; else the folder ``int8``; else generated images.
        fp16 (bool): Whether to compute the network in float16. Defaults to False.
        int8 (str | Path | None): Folder of images for calibration, to quantize the network to int8. Defaults to None.

    Raises:
        UsageError: If an argument is invalid or concerns the other kind of model, the model cannot be exported, the
            file cannot be written, or its outputs differ from PyTorch in ONNX Runtime.
        CheckpointError: If the checkpoint is unavailable or does not match the config or the network.
    """
    path, given = Path(path), locals()
    if model is not None and is_network(str(model)):
        if hint := path_hint(str(model)):
            warn(f'{model} is the network{hint}')
        refuse(given, FOR_TRAINED_MODELS, f'whole models, not for the network {model}')
        return write_network(str(model), path, checkpoint, pretrained, task, opset, size, allow_accuracy_drop)
    refuse(given, FOR_NETWORKS, 'networks given by name')
    return write_trained_model(
        None if model is None else str(model), path, config=config, pretrained=pretrained, cfg_options=cfg_options,
        preprocessing=preprocessing, images=images, fp16=fp16, int8=int8,
        allow_accuracy_drop=allow_accuracy_drop)


def is_network(name: str) -> bool:
    """Returns whether a name is that of a network, or of nothing else, rather than of a checkpoint or a work dir."""
    return name in VARIANTS or not ('://' in name or Path(name).suffix or Path(name).exists())


def refuse(given: dict[str, Any], names: Sequence[str], reason: str) -> None:
    """Raises UsageError if one of the arguments, which are for ``reason``, is neither at its default nor empty."""
    defaults = signature(export_model).parameters
    for name in names:
        if given[name] not in (defaults[name].default, None, [], (), {}):
            raise UsageError(f'{name} (--{name.replace("_", "-")}) is for {reason}')
