"""Converts ViTAE, ViTAEv2, VSA and Swin-VSA from github.com/ViTAE-Transformer/{ViTAE-Transformer,ViTAE-VSA,QFormer}."""
from collections.abc import Mapping

from torch import Tensor

from .layout import Layout
from .revit import RESWIN_NAMES

# The authors number the modules of a convolution branch in sequence, including activations.
CONV_BRANCH = {
    **{rf'PCM\.{k}': f'conv_branch.convs.{i}' for i, k in enumerate((0, 3, 6))},
    **{rf'PCM\.{k}': f'conv_branch.norms.{i}' for i, k in enumerate((1, 4))},
}
# The regex groups in a cell's layout are named, because a prefix can add groups and shift their numbers.
MODULES = r'(?P<name>norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)'
PYRAMID = {r'PRM\.convs\.(?P<branch>\d+)\.0': r'pyramid.convs.\g<branch>'}
NORMAL_CELL = {
    MODULES: r'\g<name>',
    r'attn\.relative_position_index': None,  # unused in the authors' code
    **CONV_BRANCH,
}
REDUCTION_CELL = {
    rf'attn\.{MODULES}': r'\g<name>',
    r'attn\.attn\.relative_position_index': None,
    **PYRAMID,
    **CONV_BRANCH,
}
VSA_CELL = {
    **NORMAL_CELL,
    r'attn\.(?P<name>sampling_offsets|sampling_scales)\.2': r'attn.\g<name>',
    r'attn\.relative_position_bias_table': 'attn.position_bias.relative_position_bias_table',
    r'attn\.(base_coords|coords)': None,  # computed by the model
    'pos': 'position.conv',
    **PYRAMID,
}
PERFORMER_CELL = {
    r'attn\.w': 'attn.features',
    r'attn\.(?P<name>kqv|proj)': r'attn.\g<name>',
    r'attn\.(?P<name>norm1|norm2)': r'\g<name>',
    r'attn\.mlp\.0': 'mlp.fc1',
    r'attn\.mlp\.2': 'mlp.fc2',
    **PYRAMID,
    **{rf'PCM\.{k}': f'conv_branch.convs.{i}' for i, k in enumerate((0, 2, 5))},
    r'PCM\.3': 'conv_branch.norms.1',
}


def inside(theirs: str, ours: str, layout: Mapping[str, str | None]) -> dict[str, str | None]:
    """Adds a prefix to all names of the authors in a layout, and another prefix to all of our names."""
    return {theirs + pattern: replacement and ours + replacement for pattern, replacement in layout.items()}


def of_stages(reduction: Mapping[str, str | None], normal: Mapping[str, str | None]) -> dict[str, str | None]:
    """Returns the layout of a network with a reduction cell and normal cells in each stage."""
    return {
        **inside(r'layers\.(\d+)\.RC\.', r'backbone.stages.\1.reduction.', reduction),
        **inside(r'layers\.(\d+)\.NC\.(\d+)\.', r'backbone.stages.\1.cells.\2.', normal),
        'head': 'head.fc',
    }


VITAE_NAMES = {
    r'layers\.0\.RC\.PRM\.proj': 'backbone.patch_embed.proj',
    r'layers\.0\.RC\.cls_token': 'backbone.patch_embed.class_token',
    r'layers\.0\.RC\.pos_embed': 'backbone.patch_embed.positions.pos_embed',
    'fc_norm': 'neck.norm',  # only in ViTAE-plain
    **inside(r'layers\.(\d+)\.RC\.', r'backbone.reductions.\1.', PERFORMER_CELL),
    **inside(r'layers\.2\.NC\.(\d+)\.', r'backbone.cells.\1.', NORMAL_CELL),
    'head': 'head.fc',
}


SWIN_VSA_NAMES = {
    **RESWIN_NAMES,  # of Swin
    **inside(r'layers\.(\d+)\.blocks\.(\d+)\.', r'backbone.stages.\1.blocks.\2.', {
        'pos': 'position.conv',
        r'attn\.transform\.2': 'attn.predictor',
        r'attn\.(base_coords|coords)': None,  # computed by the model
    }),
}


def flatten_projection(key: str, x: Tensor) -> Tensor:
    """Converts the weights of the authors' 1 x 1 convolutions in attention to linear layers."""
    return x.flatten(1) if '.attn.' in key and x.ndim == 4 else x


VITAE = Layout('ViTAE', ('layers.0.RC.attn.kqv.weight', 'layers.2.NC.0.PCM.0.weight'), VITAE_NAMES)
VITAE_PLAIN = Layout('ViTAE-plain', ('layers.0.RC.PRM.proj.weight', 'layers.2.NC.0.PCM.0.weight'), VITAE_NAMES)
VITAEV2 = Layout('ViTAEv2', ('layers.0.RC.attn.attn.qkv.weight', 'layers.3.NC.0.PCM.0.weight'),
                 of_stages(REDUCTION_CELL, NORMAL_CELL))
VITAEV2_VSA = Layout('ViTAEv2-VSA', ('layers.0.RC.attn.sampling_offsets.2.weight', 'layers.3.NC.0.PCM.0.weight'),
                     of_stages(VSA_CELL, VSA_CELL), reshape=flatten_projection)
SWIN_VSA = Layout('Swin-VSA', ('patch_embed.norm.weight', 'layers.0.blocks.0.attn.relative_position_bias_table',
                               'layers.0.blocks.0.attn.transform.2.weight', 'layers.0.blocks.0.pos.weight'),
                  SWIN_VSA_NAMES, reshape=flatten_projection)
