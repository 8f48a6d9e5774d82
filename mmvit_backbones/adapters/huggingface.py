"""Backbones for Hugging Face's Transformers. Importing registers them with ``AutoConfig`` and ``AutoBackbone``.

https://huggingface.co/docs/transformers/backbones (tested with 4.57)
"""
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BackboneOutput
from transformers.utils import can_return_tuple
from transformers.utils.backbone_utils import BackboneConfigMixin, BackboneMixin

from ..models import init_weights


class MMViTConfig(BackboneConfigMixin, PretrainedConfig):
    """Config of any backbone.

    Args:
        backbone (dict): Type and arguments, as in an MMEngine config, without ``out_indices``.
        out_features (list[str] | None): Stages whose maps are returned, ``'stage0'`` and so on.
        out_indices (list[int] | None): The same by number. Without either, the last.
    """
    model_type = 'mmvit'

    def __init__(self, backbone: dict | None = None, out_features: list[str] | None = None,
                 out_indices: list[int] | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.backbone = backbone or dict(type='ReSwin', arch='tiny')
        if 'out_indices' in self.backbone:
            raise ValueError('out_indices belongs to the config itself, not into its backbone')
        with torch.device('meta'):
            num_stages = MODELS.build(dict(self.backbone)).num_stages
        self.stage_names = [f'stage{i}' for i in range(num_stages)]
        if out_features is not None:
            out_indices = [self.stage_names.index(name) for name in out_features]
        self._out_indices = [i % num_stages for i in ([-1] if out_indices is None else out_indices)]
        self._out_features = [self.stage_names[i] for i in self._out_indices]


class MMViTBackbone(BackboneMixin, PreTrainedModel):
    """A backbone with Transformers' interface; ``from_pretrained`` reads what ``save_pretrained`` wrote."""
    config_class = MMViTConfig
    main_input_name = 'pixel_values'
    has_attentions = False

    def __init__(self, config: MMViTConfig) -> None:
        super().__init__(config)
        if hasattr(self, '_init_backbone'):  # version 4; since then the constructor does it
            self._init_backbone(config)
        self.backbone = self.build()
        self.num_features = list(self.backbone.channels)
        self.post_init()

    def build(self) -> nn.Module:
        return MODELS.build({**self.config.backbone, 'out_indices': self.out_indices})

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Draws weights, and fills the tables that no checkpoint holds; what was loaded stays."""
        if module is not self.backbone:
            return
        fresh = self.build()
        init_weights(fresh)
        for own, drawn in zip(*([*m.parameters(), *m.buffers()] for m in (module, fresh)), strict=True):
            if not getattr(own, '_is_hf_initialized', False):
                own.copy_(drawn)

    @can_return_tuple
    def forward(self, pixel_values: Tensor, output_hidden_states: bool | None = None, **kwargs) -> BackboneOutput:
        """``(B, in_channels, H, W)`` to ``feature_maps``, one NCHW map per entry of ``out_features``."""
        if output_hidden_states:
            raise ValueError('output_hidden_states must be False; out_features names the maps to return')
        return BackboneOutput(feature_maps=self.backbone(pixel_values))


AutoConfig.register(MMViTConfig.model_type, MMViTConfig, exist_ok=True)
AutoBackbone.register(MMViTConfig, MMViTBackbone, exist_ok=True)
