"""Backbones and classifiers for Hugging Face's Transformers.

Importing this module registers them with ``AutoConfig``, ``AutoBackbone``, ``AutoModel`` and
``AutoModelForImageClassification``. It is tested with Transformers 4.57 and 5.23.
https://huggingface.co/docs/transformers/backbones
"""
from importlib import import_module
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import transformers
from torch import Tensor, nn
from transformers import (
    AutoBackbone,
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import (
    BackboneOutput,
    BaseModelOutputWithPooling,
    ImageClassifierOutput,
)
from transformers.utils import IMAGE_PROCESSOR_NAME
from transformers.utils.generic import ModelOutput, can_return_tuple

from .. import backbones
from ..errors import first_line
from ..utils.openmmlab_models import init_weights
from ..zoo.loading import load_variant
from ..zoo.variants import VARIANTS, find_variant
from .plain_classifier import Classifier, build_backbone


def major_version(version: str) -> int:
    """Returns the major version of Transformers; raises ImportError if it is not supported."""
    major = int(version.partition('.')[0])
    if major not in (4, 5):
        raise ImportError(f'integrations.huggingface supports transformers 4 and 5, got {version}')
    return major


Output = TypeVar('Output', bound=ModelOutput)


def output_of(cls: type[Output], **values: object) -> Output:
    """Builds a model output from tensors, although Transformers annotates its fields as FloatTensor."""
    return cls(**values)


if major_version(transformers.__version__) == 4:
    from transformers import BitImageProcessorFast as BitImageProcessor
    backbone_utils = import_module('transformers.utils.backbone_utils')
else:
    from transformers import BitImageProcessor
    backbone_utils = import_module('transformers.backbone_utils')


class MMViTConfig(backbone_utils.BackboneConfigMixin, PretrainedConfig):
    """Config of a backbone or a classifier.

    ``hidden_sizes`` are the channels of all stages. With ``output_tokens``, ``hidden_size`` are those of the last.

    Args:
        backbone (dict | None): Type and arguments, as in an MMEngine config, without ``out_indices`` and ``init_cfg``.
            ``drop_path_rate`` is 0 unless given. Defaults to None: the backbone of ``network``, or ReSwin-T without it.
        out_features (list[str] | None): Names of the stages whose maps are returned, ``'stage0'`` and so on, in
            ascending order. Defaults to None: the stages of ``out_indices``.
        out_indices (list[int] | None): Indices of these stages. Defaults to None: the stages of ``out_features``, or
            the last stage.
        network (str | None): One of :func:`mmvit_backbones.list_models`; required for classifiers.
        num_channels (int | None): Channels of the images. Defaults to None: ``in_channels`` of ``backbone``, or 3.
        image_size (int | None): Image side in pixels, for the image processor. Defaults to None: the ``img_size`` of
            ``backbone`` or ``network``.
        output_tokens (bool): Whether ``last_hidden_state`` and ``hidden_states`` are tokens ``(B, h * w, C)``, as
            ``VisionEncoderDecoderModel``, LLaVA and other composed models need, instead of maps ``(B, C, h, w)``.

    Raises:
        AttributeError: If ``hidden_size`` is read without ``output_tokens``.
        ValueError: If ``backbone``, ``network`` or ``output_tokens`` is invalid, a stage does not exist, or
            ``out_features`` and ``out_indices`` differ. The order of the stages is checked when the backbone is built.
    """
    model_type = 'mm_backbone'

    def __init__(self, backbone: dict | None = None, out_features: list[str] | None = None,
                 out_indices: list[int] | None = None, network: str | None = None, image_size: int | None = None,
                 num_channels: int | None = None, output_tokens: bool = False, **kwargs) -> None:
        super().__init__(**kwargs)
        if not isinstance(output_tokens, bool):
            raise ValueError(f'output_tokens must be True or False, got {output_tokens!r}')
        self.output_tokens = output_tokens
        self.network = network
        self.image_size = image_size or (backbone or {}).get('img_size') or find_variant(
            network or 'reswin_tiny').img_size
        self.backbone = dict(drop_path_rate=0.) | (backbone or find_variant(network or 'reswin_tiny').backbone)
        in_channels = self.backbone.pop('in_channels', None)  # from_pretrained may set num_channels, its only place
        if None not in (in_channels, num_channels) and in_channels != num_channels:
            raise ValueError(f'num_channels must be in_channels of backbone, got {num_channels} and {in_channels}')
        channels = in_channels if num_channels is None else num_channels
        self.num_channels = 3 if channels is None else channels
        networks = [name for name in backbones.__all__ if name != 'Backbone']
        if self.backbone.get('type') not in networks:
            raise ValueError(f'backbone must have a type that is one of {", ".join(networks)}, got '
                             f'{self.backbone.get("type")!r}')
        for key in ('out_indices', 'init_cfg'):
            if key in self.backbone:
                raise ValueError(f'backbone must not have {key}, got {self.backbone[key]}; pass out_indices to the '
                                 'config, and load weights by from_pretrained')
        try:
            with torch.device('meta'):
                built = build_backbone(self.backbone_config)
        except Exception as error:  # invalid arguments can raise any exception
            raise ValueError(f'backbone cannot be built: {first_line(error)}') from error
        self.hidden_sizes = list(built.channels)
        self.stage_names = [f'stage{i}' for i in range(built.num_stages)]
        count = len(self.stage_names)
        if any(not -count <= index < count for index in out_indices or ()):
            raise ValueError(f'out_indices must be from {-count} to {count - 1}, got {out_indices}')
        names = self.stage_names[-1:] if out_indices is None else [self.stage_names[i] for i in out_indices]
        self._out_features = names if out_features is None else out_features
        unknown = set(self._out_features) - set(self.stage_names)
        if unknown or out_indices is not None and names != self._out_features:
            raise ValueError(f'out_features must be a subset of {self.stage_names} and agree with out_indices, got '
                             f'{out_features} and {out_indices}')
        self._out_indices = [self.stage_names.index(name) for name in self._out_features]

    @property
    def hidden_size(self) -> int:
        """Returns the channels of the tokens. Composed models read it when they are built, and fail on maps."""
        if not self.output_tokens:
            raise AttributeError('hidden_size requires MMViTConfig(output_tokens=True), which returns tokens '
                                 '(B, N, C) instead of maps (B, C, h, w), got False')
        return self.hidden_sizes[-1]

    @property
    def backbone_config(self) -> dict:
        """Returns the type and all arguments of the backbone, without ``out_indices``."""
        return {**self.backbone, 'in_channels': self.num_channels}


def mark_initialized(x: Any, is_initialized: bool = True) -> None:
    """Sets the attribute by which Transformers recognizes modules and tensors that are initialized."""
    x._is_hf_initialized = is_initialized


class MMViTPreTrainedModel(PreTrainedModel):
    """Base class of the models. ``network_name`` is the name of the attribute with the network."""
    config_class = MMViTConfig
    base_model_prefix = 'model'
    main_input_name = 'pixel_values'
    supports_gradient_checkpointing = True
    network_name: str

    def build(self) -> nn.Module:
        """Builds the network with initialized weights."""
        raise NotImplementedError

    @property
    def network(self) -> nn.Module:
        return getattr(self, self.network_name)

    def post_init(self) -> None:
        is_initialized = not next(self.parameters()).is_meta  # build() initializes weights, except on the meta device
        for module in self.modules():
            mark_initialized(module, is_initialized)
        super().post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Returns the first convolution of the stem."""
        return next(module for module in self.network.modules() if isinstance(module, nn.Conv2d))

    def _set_gradient_checkpointing(self, enable: bool = True, gradient_checkpointing_func=None,
                                    every_n_layers: int = 1) -> None:
        """Sets the backbone's ``with_cp``, which enables activation checkpointing."""
        if every_n_layers != 1:
            raise ValueError(f'every_n_layers must be 1, because all blocks are recomputed, got {every_n_layers}')
        for module in self.modules():
            if isinstance(module, backbones.Backbone):
                module.with_cp = self.gradient_checkpointing = enable

    def wants_stages(self, output_hidden_states: bool | None) -> bool:
        return self.config.output_hidden_states if output_hidden_states is None else output_hidden_states

    def arrange(self, features: Tensor) -> Tensor:
        """Returns maps ``(B, C, h, w)`` as tokens ``(B, h * w, C)`` if the config has ``output_tokens``."""
        return features.flatten(2).transpose(1, 2) if self.config.output_tokens and features.ndim == 4 else features

    def arrange_all(self, stages: tuple[Tensor, ...] | None) -> tuple[Tensor, ...] | None:
        return None if stages is None else tuple(map(self.arrange, stages))

    def image_processor(self) -> BitImageProcessor:
        """Returns a processor that resizes the shorter side to 8 / 7 of ``image_size``, center-crops and normalizes."""
        family = next(variant.family for variant in VARIANTS.values()
                      if variant.backbone['type'] == self.config.backbone['type'])
        side = self.config.image_size
        return BitImageProcessor(
            size=dict(shortest_edge=side * 8 // 7), crop_size=dict(height=side, width=side),
            image_mean=[value / 255 for value in family.mean], image_std=[value / 255 for value in family.std])

    def save_pretrained(self, save_directory: str | PathLike, *args, **kwargs) -> None:
        """Saves the model, and an image processor if the folder does not contain one."""
        super().save_pretrained(save_directory, *args, **kwargs)
        if kwargs.get('is_main_process', True) and not Path(save_directory, IMAGE_PROCESSOR_NAME).exists():
            self.image_processor().save_pretrained(save_directory)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initializes all weights and buffers that were not loaded.

        Transformers calls this method for each module with missing weights; the first call initializes them all.
        """
        tensors = chain(self.network.named_parameters(), self.network.named_buffers())
        missing = {name: x for name, x in tensors if not getattr(x, '_is_hf_initialized', False)}
        initial = self.build().state_dict() if missing else {}
        for name, x in missing.items():
            x.copy_(initial[name])
            mark_initialized(x)


class MMViTBackbone(backbone_utils.BackboneMixin, MMViTPreTrainedModel):
    """A backbone with Transformers' interface, including ``save_pretrained`` and ``from_pretrained``.

    ``out_features`` and ``out_indices`` can be set later, to stages whose output norms the backbone has.
    """
    network_name = 'backbone'
    has_attentions = False

    def __init__(self, config: MMViTConfig) -> None:
        super().__init__(config)
        if hasattr(self, '_init_backbone'):  # Transformers 4; in version 5, the constructor does this
            self._init_backbone(config)
        self.backbone = self.build()
        self.num_features = list(self.backbone.channels)
        self.post_init()

    def build(self) -> backbones.Backbone:
        backbone = self.plan()
        init_weights(backbone)
        return backbone

    def plan(self) -> backbones.Backbone:
        indices = [self.stage_names.index(name) for name in self.out_features]  # out_indices may be negative
        return build_backbone({**self.config.backbone_config, 'out_indices': indices})

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute; ``out_features`` and ``out_indices`` also set the stages that the backbone returns.

        Raises:
            ValueError: If a stage has no output norm, because it was not returned when the backbone was built.
        """
        before = self.out_features if name in ('out_features', 'out_indices') else None
        super().__setattr__(name, value)
        if before is None:
            return
        with torch.device('meta'):
            planned = self.plan()
        missing = sorted(planned.state_dict().keys() - self.backbone.state_dict().keys())
        if missing:
            super().__setattr__('out_features', before)
            raise ValueError(f'{name} must be among {before}, set it in the config before the model is built: the '
                             f'backbone has no {missing[0]}, got {value}')
        self.backbone.out_indices = planned.out_indices

    @can_return_tuple
    def forward(self, pixel_values: Tensor, output_hidden_states: bool | None = None, **kwargs) -> BackboneOutput:
        """Returns ``feature_maps``, one NCHW map per entry of ``out_features``, for images ``(B, in_channels, H, W)``.

        ``hidden_states``, if requested, are the pre-norm maps or tokens of all stages.
        """
        if not self.wants_stages(output_hidden_states):
            return output_of(BackboneOutput, feature_maps=self.backbone(pixel_values))
        features, pre_norm = self.backbone.forward_with_stages(pixel_values)
        return output_of(BackboneOutput, feature_maps=features, hidden_states=self.arrange_all(pre_norm))


class MMViTModel(MMViTPreTrainedModel):
    """A classifier without its last layer. The weights have this package's names with the prefix ``model.``.

    Raises:
        ValueError: If the config has no ``network``.
    """
    network_name = 'model'
    has_head = False
    _keys_to_ignore_on_load_unexpected = ['head.']

    def __init__(self, config: MMViTConfig) -> None:
        super().__init__(config)
        if config.network is None:
            raise ValueError('network must be one of mmvit_backbones.list_models(), got None')
        self.model = self.build()
        self.post_init()

    def build(self) -> Classifier:
        num_classes = self.config.num_labels if self.has_head else 0
        arguments = {key: value for key, value in self.config.backbone_config.items() if key != 'type'}
        return Classifier(find_variant(self.config.network), num_classes, **arguments)

    def features(self, pixel_values: Tensor, output_hidden_states: bool | None) -> tuple[Tensor, tuple | None]:
        """Returns the last map or tokens, and all pre-norm features if the argument or config asks for them."""
        if self.wants_stages(output_hidden_states):
            return self.model.forward_features_and_stages(pixel_values)
        return self.model.forward_features(pixel_values), None

    @can_return_tuple
    def forward(self, pixel_values: Tensor, output_hidden_states: bool | None = None,
                **kwargs) -> BaseModelOutputWithPooling:
        """Returns ``last_hidden_state``, a map ``(B, C, h, w)``, and ``pooler_output`` ``(B, C)``.

        ``last_hidden_state`` is tokens ``(B, h * w, C)`` if the config has ``output_tokens``, and always tokens
        ``(B, 1 + h * w, C)`` for Refiner-ViT, the class token first. ``hidden_states``, if requested, are the pre-norm
        maps or tokens of all stages.
        """
        features, stages = self.features(pixel_values, output_hidden_states)
        pooled = self.model.forward_head(features, pre_logits=True)
        return output_of(BaseModelOutputWithPooling, last_hidden_state=self.arrange(features), pooler_output=pooled,
                         hidden_states=self.arrange_all(stages))


class MMViTForImageClassification(MMViTModel):
    """A classifier with Transformers' interface.

    Raises:
        ValueError: If the config has no ``network``.

    Example:
        >>> import torch
        >>> from mmvit_backbones.integrations.huggingface import MMViTConfig, MMViTForImageClassification
        >>> model = MMViTForImageClassification(MMViTConfig(network='vitae_tiny', num_labels=5)).eval()
        >>> model(torch.rand(1, 3, 64, 64)).logits.shape
        torch.Size([1, 5])
    """
    has_head = True
    _keys_to_ignore_on_load_unexpected = None
    accepts_loss_kwargs = False  # the loss is a mean, so Trainer divides it by the accumulation steps

    @classmethod
    def from_published(cls, network: str, tag: str | Literal[True] = True, **kwargs) -> 'MMViTForImageClassification':
        """Loads the authors' weights of a network; ``kwargs`` are passed to the config.

        With ``num_labels`` or ``id2label``, the head is untrained if the number of classes is not that of the weights.

        Raises:
            UsageError: If ``network`` is unknown.
            CheckpointError: If the weights with this tag are unavailable or have no classifier.
        """
        side = int(tag) if str(tag).isdigit() else None
        has_classes = 'num_labels' in kwargs or 'id2label' in kwargs
        if not has_classes:
            kwargs['num_labels'] = 1000
        model = cls(MMViTConfig(network=network, **{'image_size': side, **kwargs}))
        load_variant(model.model, find_variant(network), 'classification', None, tag, new_head=has_classes)
        return model

    @can_return_tuple
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # Transformers' convention: labels come second
            self, pixel_values: Tensor, labels: Tensor | None = None, output_hidden_states: bool | None = None,
            **kwargs) -> ImageClassifierOutput:
        """Returns ``logits`` ``(B, num_labels)`` and, with ``labels``, the ``loss`` for the config's ``problem_type``.

        ``hidden_states``, if requested, are the pre-norm maps or tokens of all stages.
        """
        features, stages = self.features(pixel_values, output_hidden_states)
        logits = self.model.forward_head(features)
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return output_of(ImageClassifierOutput, loss=loss, logits=logits, hidden_states=self.arrange_all(stages))


AutoConfig.register(MMViTConfig.model_type, MMViTConfig, exist_ok=True)
AutoBackbone.register(MMViTConfig, MMViTBackbone, exist_ok=True)
AutoModel.register(MMViTConfig, MMViTModel, exist_ok=True)
AutoModelForImageClassification.register(MMViTConfig, MMViTForImageClassification, exist_ok=True)
