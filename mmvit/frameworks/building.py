"""Imports frameworks, and builds the models and data sets of their configs."""
import io
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from mmengine.config import Config
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, Registry, init_default_scope
from torch import nn

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.installation import describe_operators
from mmvit_backbones.zoo.loading import safe_loading

from ..utils.faults import named, quiet
from .tasks import FRAMEWORKS


def is_installed(scope: Any) -> bool:
    """Returns whether the ``default_scope`` of a config is an installed package."""
    return isinstance(scope, str) and scope.isidentifier() and find_spec(scope) is not None


def check_scope(cfg: Config) -> None:
    """Raises UsageError if the ``default_scope`` of a config is no installed package with a registry."""
    scope = cfg.get('default_scope')
    if not is_installed(scope):
        raise UsageError(f'config {cfg.filename} needs {scope}, which is not installed; default_scope must be a '
                         f'package with a registry, such as {", ".join(FRAMEWORKS)}')
    with named(f'config {cfg.filename}: default_scope {scope}'):
        import_module(f'{scope}.registry')  # where MMEngine looks for its classes


def import_quietly(framework: str) -> None:
    """Imports a framework's data sets and models without printing which optional dependencies are missing.

    Of another package, imports all that is in its registries.

    Raises:
        UsageError: If mmcv lacks the operators that the models need, or another package cannot be imported.
    """
    with redirect_stdout(io.StringIO()):
        if framework not in FRAMEWORKS:
            with named(f'default_scope {framework}'):
                for each in vars(import_module(f'{framework}.registry')).values():
                    if isinstance(each, Registry):
                        each.import_from_location()
            return
        try:
            import_module(f'{framework}.datasets')
            import_module(f'{framework}.models')
        except ImportError as error:
            state, works = describe_operators()
            if works:
                raise
            raise UsageError(f'operators of mmcv: {state}') from error


def use_framework(framework: str) -> None:
    """Imports a framework quietly, and lets names in configs mean its classes."""
    import_quietly(framework)
    init_default_scope(framework)


def build_dataset(cfg: Config, split: str) -> Any:
    """Returns the data set of 'train', 'val' or 'test' of a config."""
    use_framework(cfg.default_scope)
    with quiet():  # pycocotools prints its steps
        return DATASETS.build(cfg[f'{split}_dataloader'].dataset)


def build_model(cfg: Config) -> BaseModel:
    """Builds the model of a config for a single process, without SyncBN."""
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with named('model'), safe_loading():  # some models read other checkpoints
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
    if not isinstance(model, BaseModel):
        raise UsageError(f'model {cfg.model.type} must be a subclass of mmengine.model.BaseModel')
    return model


def metainfo_of(dataset: dict) -> dict:
    """Returns the metadata of a dataset, such as its classes, without building the dataset."""
    kind: Any = dataset['type']
    with DATASETS.switch_scope_and_registry(dataset.get('_scope_')) as registry:
        kind = registry.get(kind) if isinstance(kind, str) else kind
    return kind._load_metainfo(dataset.get('metainfo'))


def takes_rgb(preprocessor: nn.Module) -> bool:
    """Returns whether a data preprocessor converts the BGR images of pipelines to RGB."""
    # The option has a different name in each framework.
    return any(getattr(preprocessor, name, False) for name in ('to_rgb', 'channel_conversion', '_channel_conversion'))
