"""Backbones and classifiers for Hugging Face's Transformers.

Importing registers them with ``AutoConfig``, ``AutoBackbone`` and ``AutoModelForImageClassification``.
https://huggingface.co/docs/transformers/backbones (tested with 4.57)
"""
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig, AutoModelForImageClassification, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BackboneOutput, ImageClassifierOutput
from transformers.utils import can_return_tuple
from transformers.utils.backbone_utils import BackboneConfigMixin, BackboneMixin

from .. import backbones
from ..utils.file_configs import check_config
from ..zoo.build import init_weights
from ..zoo.loading import load_variant
from ..zoo.variants import find_variant
from .classifier import Classifier


class MMViTConfig(BackboneConfigMixin, PretrainedConfig):
    """Config of any backbone, and of a classifier with one.

    Args:
        backbone (dict | None): Type and arguments, as in an MMEngine config, without ``out_indices``. Defaults to
            those of ``network``. Paths are dropped only if ``drop_path_rate`` is given.
        out_features (list[str] | None): Stages whose maps are returned, ``'stage0'`` and so on.
        out_indices (list[int] | None): The same by index. Defaults to the last stage.
        network (str | None): One of :func:`mmvit_backbones.list_models`; required for classifiers.
    """
    model_type = 'mmvit'

    def __init__(self, backbone: dict | None = None, out_features: list[str] | None = None,
                 out_indices: list[int] | None = None, network: str | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.network = network
        self.backbone = dict(drop_path_rate=0.) | (backbone or find_variant(network or 'reswin_tiny').backbone)
        networks = [name for name in backbones.__all__ if name != 'Backbone']
        if self.backbone.get('type') not in networks:
            raise ValueError(f'the type of backbone must be one of {", ".join(networks)}, got '
                             f'{self.backbone.get("type")!r}')
        for key in ('out_indices', 'init_cfg'):
            if key in self.backbone:
                raise ValueError(f'backbone must not have {key}: out_indices belongs to the config itself, weights '
                                 'to from_pretrained')
        check_config(dict(model=dict(backbone=self.backbone)))
        with torch.device('meta'):
            num_stages = MODELS.build(dict(self.backbone)).num_stages
        self.stage_names = [f'stage{i}' for i in range(num_stages)]
        if out_features is not None:
            out_indices = [self.stage_names.index(name) for name in out_features]
        self._out_indices = [i % num_stages for i in ([-1] if out_indices is None else out_indices)]
        self._out_features = [self.stage_names[i] for i in self._out_indices]


class MMViTModel(PreTrainedModel):
    """Base class of the models; ``build`` returns their network, named ``network_name``."""
    config_class = MMViTConfig
    main_input_name = 'pixel_values'
    supports_gradient_checkpointing = True

    def post_init(self) -> None:
        network = getattr(self, self.network_name)
        for module in network.modules():
            module._is_hf_initialized = not next(network.parameters()).is_meta  # else it is drawn already
        super().post_init()

    def _set_gradient_checkpointing(self, enable: bool = True, gradient_checkpointing_func=None) -> None:
        """Recomputes blocks in the backward pass, by the backbone's ``with_cp``."""
        for module in self.modules():
            if isinstance(module, backbones.Backbone):
                module.with_cp = self.gradient_checkpointing = enable

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initializes weights and buffers that were not loaded."""
        if module is getattr(self, self.network_name):
            for own, drawn in zip(*([*m.parameters(), *m.buffers()] for m in (module, self.build())), strict=True):
                if not getattr(own, '_is_hf_initialized', False):
                    own.copy_(drawn)


class MMViTBackbone(BackboneMixin, MMViTModel):
    """A backbone with Transformers' interface, including ``save_pretrained`` and ``from_pretrained``."""
    network_name = 'backbone'
    has_attentions = False

    def __init__(self, config: MMViTConfig) -> None:
        super().__init__(config)
        if hasattr(self, '_init_backbone'):  # version 4; since then the constructor does it
            self._init_backbone(config)
        self.backbone = self.build()
        self.num_features = list(self.backbone.channels)
        self.post_init()

    def build(self) -> nn.Module:
        backbone = MODELS.build({**self.config.backbone, 'out_indices': self.out_indices})
        init_weights(backbone)
        return backbone

    @can_return_tuple
    def forward(self, pixel_values: Tensor, output_hidden_states: bool | None = None, **kwargs) -> BackboneOutput:
        """Returns ``feature_maps`` of ``(B, in_channels, H, W)``, one NCHW map per entry of ``out_features``."""
        if output_hidden_states:
            raise ValueError('output_hidden_states must be False; out_features names the maps to return')
        return BackboneOutput(feature_maps=self.backbone(pixel_values))


class MMViTForImageClassification(MMViTModel):
    """A classifier with Transformers' interface; the weights of its network ``model`` have this package's names.

    Example:
        >>> import torch
        >>> from mmvit_backbones.integrations.huggingface import MMViTConfig, MMViTForImageClassification
        >>> model = MMViTForImageClassification(MMViTConfig(network='vitae_tiny', num_labels=5)).eval()
        >>> model(torch.rand(1, 3, 64, 64)).logits.shape
        torch.Size([1, 5])
    """
    network_name = 'model'

    def __init__(self, config: MMViTConfig) -> None:
        super().__init__(config)
        if config.network is None:
            raise ValueError('network must name one of mmvit_backbones.list_models(), got None')
        self.model = self.build()
        self.post_init()

    @classmethod
    def from_published(cls, network: str, tag: str | bool = True, **kwargs) -> 'MMViTForImageClassification':
        """Loads the authors' weights of a network; further arguments, such as ``num_labels``, go to the config."""
        model = cls(MMViTConfig(network=network, **{'num_labels': 1000, **kwargs}))
        load_variant(model.model, find_variant(network), 'classification', None, tag, new_head='num_labels' in kwargs)
        return model

    def build(self) -> Classifier:
        arguments = {key: value for key, value in self.config.backbone.items() if key != 'type'}
        return Classifier(find_variant(self.config.network), self.config.num_labels, **arguments)

    @can_return_tuple
    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs) -> ImageClassifierOutput:
        """Returns ``logits`` ``(B, num_labels)`` and, with ``labels`` ``(B, )``, ``loss``."""
        logits = self.model(pixel_values)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


AutoConfig.register(MMViTConfig.model_type, MMViTConfig, exist_ok=True)
AutoBackbone.register(MMViTConfig, MMViTBackbone, exist_ok=True)
AutoModelForImageClassification.register(MMViTConfig, MMViTForImageClassification, exist_ok=True)
