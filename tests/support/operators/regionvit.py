"""Goldens of RegionViT: stages with their masks, and weights converted to another window size."""
import torch
from golden import fill_state_dict, make_input

from mmvit_backbones.backbones import RegionViT
from mmvit_backbones.backbones.regionvit import RegionViTStage, window_mask
from mmvit_backbones.ops.window import relative_position_index
from mmvit_backbones.zoo.converters.regionvit import REGIONVIT


@torch.no_grad()
def run_stage(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    kwargs = golden['variant_kwargs']
    stage = RegionViTStage(kwargs['channels'], kwargs['num_heads'], kwargs['window'], kwargs['mlp_ratio'],
                           kwargs['peg'], drop_paths=[0.] * kwargs['depth'], project=kwargs['downsample']).to(dtype)
    filled = fill_state_dict(golden['state_dict'], dtype)
    weights = REGIONVIT.convert({f'layers.0.{key}': x for key, x in filled.items()})
    stage.load_state_dict({key.removeprefix('backbone.stages.0.'): value for key, value in weights.items()})
    local, regional = (make_input(case[kind]['shape'], case[kind]['seed'], dtype).permute(0, 2, 3, 1)
                       for kind in ('local', 'regional'))
    check_masks(case, kwargs['window'])
    index = relative_position_index(kwargs['window'], local.device, wrapped=True)
    local, regional = stage(local, regional, index, lambda block, *arguments: block(*arguments))
    return dict(local=local.permute(0, 3, 1, 2), regional=regional.permute(0, 3, 1, 2))


def check_masks(case: dict, window: int) -> None:
    """Compares the numbers of query-key pairs that the masks allow with the golden."""
    size, grid = (tuple(case['outputs'][kind]['shape'][2:]) for kind in ('local', 'regional'))
    sees, mask = window_mask(size, grid, window, like=torch.empty(0))
    allowed = (sees.bool() & (mask == 0)).squeeze(1)  # (windows, N, N)
    if 'allowed_pairs_per_window' not in case:
        assert allowed.all()
        return
    assert allowed.sum((1, 2)).tolist() == case['allowed_pairs_per_window']
    assert allowed[grid[1] - 1].sum(-1).tolist() == case['last_column_allowed_keys_per_query']
    assert allowed[-1].sum(-1).tolist() == case['corner_allowed_keys_per_query']


@torch.no_grad()
def convert_window(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Loads weights into a network with another window size; returns the converted weights by the authors' names."""
    network = RegionViT('tiny', window_size=case['new_window']).to(dtype)
    weights = REGIONVIT.convert(fill_state_dict(golden['state_dict'], dtype))
    loaded = network.load_state_dict({k.removeprefix('backbone.'): v for k, v in weights.items()}, strict=False)
    assert not loaded.unexpected_keys and len(weights) == case['num_changed']
    resized = network.state_dict()
    names = {name: next(iter(REGIONVIT.convert({name: torch.empty(0)}))) for name in case['outputs']}
    return {name: resized[ours.removeprefix('backbone.')] for name, ours in names.items()}


OPERATORS = {
    'op_stage_w4_nopeg': run_stage,
    'op_stage_w7_peg': run_stage,
    'op_convert_window': convert_window,
}
