"""Goldens of ReSwin, ReViT and ReMViTv2: outputs of each block."""
import torch
from golden import fill_state_dict, make_input

from mmvit_backbones.backbones import ReMViTv2, ReSwin, ReViT
from mmvit_backbones.zoo.converters import revit


def load(network: torch.nn.Module, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Loads a classifier's weights into a backbone. ``norm3`` becomes the norm of the backbone's last stage."""
    last, = network.out_indices
    network.load_state_dict({
        key.removeprefix('backbone.').replace('norm3.', f'norm{last}.'): value
        for key, value in weights.items() if key.startswith('backbone.')
    })
    return network.eval()


def logits_of(network: torch.nn.Module, weights: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    return network(images)[0].mean((2, 3)) @ weights['head.fc.weight'].T + weights['head.fc.bias']


def outputs_of(blocks: list[torch.nn.Module], network: torch.nn.Module, images: torch.Tensor) -> tuple[list, tuple]:
    """Returns the tokens and attention logits of each block, and the outputs of ``forward_stages``."""
    outputs = []
    hooks = [block.register_forward_hook(lambda *args: outputs.append(args[-1])) for block in blocks]
    stages = network.forward_stages(images)
    for hook in hooks:
        hook.remove()
    return outputs, stages


@torch.no_grad()
def trace_reswin(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Returns the class logits and stages of a small ReSwin, and the tokens and attention logits of its blocks."""
    kwargs = golden['variant_kwargs']
    arch = {key: kwargs[key] for key in ('embed_dims', 'depths', 'num_heads', 'window_size', 'mlp_ratio')}
    weights = revit.RESWIN.convert(fill_state_dict(golden['state_dict'], dtype))
    network = load(ReSwin(arch, out_indices=len(arch['depths']) - 1).to(dtype), weights)

    images = make_input(case['shape'], case['seed'], dtype)
    outputs = dict(logits=logits_of(network, weights, images))
    names = [f'layer{s}.block{b}' for s, stage in enumerate(network.stages) for b in range(len(stage.blocks))]
    blocks = [block for stage in network.stages for block in stage.blocks]
    blocks, stages = outputs_of(blocks, network, images)
    for name, (x, logits) in zip(names, blocks, strict=True):
        outputs |= {f'{name}.out': x.flatten(1, 2), f'{name}.residual': logits.flatten(0, 1)}
    return outputs | {f'stage{i}': stage for i, stage in enumerate(stages, start=1)}


@torch.no_grad()
def trace_revit(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Returns the class logits and map of a small ReViT, and the tokens and attention logits of its blocks."""
    kwargs = golden['variant_kwargs']
    arch = {key: kwargs[key] for key in ('embed_dims', 'depth', 'num_heads', 'mlp_ratio')}
    weights = revit.REVIT.convert(fill_state_dict(golden['state_dict'], dtype))
    network = load(ReViT(arch, img_size=kwargs['img_size']).to(dtype), weights)

    images = make_input(case['shape'], case['seed'], dtype)
    blocks, (featmap, ) = outputs_of(network.blocks, network, images)
    outputs = dict(logits=logits_of(network, weights, images), featmap=featmap)
    for i, (x, logits) in enumerate(blocks):
        outputs |= {f'block{i}.out': x, f'block{i}.residual': logits}
    return outputs


@torch.no_grad()
def trace_remvitv2(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Returns the class logits and stages of a small ReMViTv2, and the tokens and attention logits of its blocks."""
    kwargs = golden['variant_kwargs']
    arch = dict(embed_dims=kwargs['embed_dims'], depths=kwargs['depths'], num_heads=kwargs['stage_heads'],
                mlp_ratio=kwargs['mlp_ratio'])
    weights = revit.REMVITV2.convert(fill_state_dict(golden['state_dict'], dtype))
    network = load(ReMViTv2(arch, img_size=kwargs['img_size'], out_indices=len(arch['depths']) - 1).to(dtype), weights)

    images = make_input(case['shape'], case['seed'], dtype)
    outputs = dict(logits=logits_of(network, weights, images))
    blocks, stages = outputs_of(network.blocks, network, images)
    outputs |= {f'stage{i}': stage for i, stage in enumerate(stages, start=1)}
    for i, (x, logits) in enumerate(blocks):
        outputs |= {f'block{i}.out': x.flatten(1, 2), f'block{i}.residual': logits}
    return outputs


OPERATORS = {'reswin_custom': trace_reswin, 'revit_custom': trace_revit, 'remvitv2_custom': trace_remvitv2}
