"""Goldens of the attention of ResT and ResTv2."""
import torch
from golden import fill_state_dict, make_input

from mmvit_backbones.backbones.rest import EMSA
from mmvit_backbones.backbones.restv2 import EMSAv2

OUR_NAMES = {'transform_conv.': 'mix_heads.', 'up.0.': 'up.'}


@torch.no_grad()
def run_attention(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Runs one attention module on a map, without the residual connection."""
    kwargs = golden['variant_kwargs']
    kind = EMSAv2 if kwargs.get('upsample_branch') else EMSA
    attention = kind(kwargs['dim'], kwargs['num_heads'], kwargs['sr_ratio'], kwargs['ln_eps']).to(dtype).eval()
    weights = {}
    for key, value in fill_state_dict(golden['state_dict'], dtype).items():
        for theirs, ours in OUR_NAMES.items():
            key = key.replace(theirs, ours)
        weights[key] = value
    attention.load_state_dict(weights)
    x = make_input(case['shape'], case['seed'], dtype)
    return {'out': attention(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)}


OPERATORS = dict.fromkeys(
    ['op_emsa_v1', 'op_emsa_v1_head1', 'op_emsa_v1_sr1', 'op_emsa_v2', 'op_emsa_v2_sr1'], run_attention)
