"""ReSwin block by block."""
import torch
from golden import fill_state_dict, make_input

from mmvit_backbones.backbones import ReSwin
from mmvit_backbones.checkpoints import reswin


@torch.no_grad()
def trace_reswin(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tokens and logits after every block of a small ReSwin."""
    kwargs = golden['variant_kwargs']
    arch = {key: kwargs[key] for key in ('embed_dims', 'depths', 'num_heads', 'window_size', 'mlp_ratio')}
    last = len(arch['depths']) - 1
    network = ReSwin(arch, out_indices=last).to(dtype).eval()
    weights = reswin.convert(fill_state_dict(golden['state_dict'], dtype))
    network.load_state_dict({
        key.removeprefix('backbone.').replace('norm3.', f'norm{last}.'): value
        for key, value in weights.items() if key.startswith('backbone.')
    })

    outputs = {}
    images = make_input(case['shape'], case['seed'], dtype)
    x, residual = network.patch_embed(images), None
    for s, stage in enumerate(network.stages):
        for b, block in enumerate(stage.blocks):
            x, residual = block(x, residual)
            name = f'layer{s}.block{b}'
            outputs[f'{name}.out'] = x.flatten(1, 2)
            outputs[f'{name}.residual'] = residual.unflatten(1, (-1, block.attn.num_heads)).flatten(0, 1)
        outputs[f'stage{s + 1}'] = x.permute(0, 3, 1, 2)
        if stage.downsample is not None:
            x = stage.downsample(x)
    features = network(images)[0].mean((2, 3))
    outputs['logits'] = features @ weights['head.fc.weight'].T + weights['head.fc.bias']
    return outputs


OPERATORS = {'reswin_custom': trace_reswin}
