"""The OpenMMLab frameworks whose models and data sets configs may name."""
import io
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from typing import Any

from mmengine.config import Config
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import nn

from mmvit_backbones.errors import MMViTError, UsageError, first_line
from mmvit_backbones.utils.file_access import FULL
from mmvit_backbones.utils.installation import describe_operators
from mmvit_backbones.zoo.loading import safe_loading

FRAMEWORKS = ('mmdet', 'mmseg', 'mmpretrain')


@contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Collects what is printed; if an exception is raised that does not say all in a line, prints it."""
    text = io.StringIO()
    try:
        with redirect_stdout(text):
            yield text
    except MMViTError:
        raise
    except BaseException:
        print(text.getvalue(), file=sys.stderr, end='')
        raise


@contextmanager
def named(setting: str) -> Iterator[None]:
    """Replaces an exception of other libraries by one line that names the setting."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MMViTError) or isinstance(error, OSError) and error.errno in FULL:
            raise
        raise UsageError(f'{setting} cannot be used: {why(error)}') from error


def why(error: Exception) -> str:
    """Returns the first line of an error; without a message, the line of code that raised it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, NotImplementedError) and 'layer_decay' in place.filename:  # of mmdet, mmseg and mmpretrain
        return 'its constructor does not know the layers of this network; LayerDecayConstructor does'
    return first_line(error) if str(error) else f'{type(error).__name__} at {place.line}'


def import_quietly(framework: str) -> None:
    """Imports a framework's datasets and models without printing which optional dependencies are missing.

    Raises:
        UsageError: If mmcv lacks the operators that the models need.
    """
    with redirect_stdout(io.StringIO()):
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
