"""RegionViT: a stage with its masks, block by block, and weights for other windows."""
import torch
from golden import fill_state_dict, make_input

from mmvit_backbones.backbones import RegionViT
from mmvit_backbones.backbones.regionvit import Stage
from mmvit_backbones.ops.regional_attention import WindowGrid, edge_masks
from mmvit_backbones.zoo.converters import regionvit


@torch.no_grad()
def run_stage(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """One stage; also holds the golden's counts of allowed pairs against our masks."""
    kwargs = golden['variant_kwargs']
    stage = Stage(kwargs['channels'], kwargs['num_heads'], kwargs['window'], kwargs['mlp_ratio'], kwargs['peg'],
                  drop_paths=[0.] * kwargs['depth'], project=kwargs['downsample']).to(dtype)
    weights = regionvit.convert({f'layers.0.{k}': v for k, v in fill_state_dict(golden['state_dict'], dtype).items()})
    stage.load_state_dict({key.removeprefix('backbone.stages.0.'): value for key, value in weights.items()})
    local, regional = (make_input(case[kind]['shape'], case[kind]['seed'], dtype).permute(0, 2, 3, 1)
                       for kind in ('local', 'regional'))
    check_masks(case, kwargs['window'])
    local, regional = stage(local, regional, lambda block, *arguments: block(*arguments))
    return dict(local=local.permute(0, 3, 1, 2), regional=regional.permute(0, 3, 1, 2))


def check_masks(case: dict, window: int) -> None:
    local, regional = case['outputs']['local']['shape'], case['outputs']['regional']['shape']
    grid = WindowGrid(*regional[2:], window, *local[2:])
    assert grid.padding == (case['pad_bottom'], case['pad_right'])
    if 'allowed_pairs_per_window' not in case:
        assert grid.groups(like=torch.empty(1)) == [(grid.rows * grid.columns, None)]
        return
    pairs = torch.ones(1 + window**2, 1 + window**2, dtype=torch.bool)
    masks = [None, *edge_masks(window, *grid.padding, torch.device('cpu'))]
    inner, last_column, last_row, corner = (pairs if m is None else m[0] & ~m[1] for m in masks)
    allowed = [[inner] * (grid.columns - 1) + [last_column]] * (grid.rows - 1) + [[last_row] * (grid.columns - 1) +
                                                                                 [corner]]
    assert [int(window.sum()) for row in allowed for window in row] == case['allowed_pairs_per_window']
    assert last_column.sum(-1).tolist() == case['last_column_allowed_keys_per_query']
    assert corner.sum(-1).tolist() == case['corner_allowed_keys_per_query']


@torch.no_grad()
def convert_window(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """A checkpoint of one window size in a network of another, under the authors' names."""
    network = RegionViT('tiny', window_size=case['new_window']).to(dtype)
    weights = regionvit.convert(fill_state_dict(golden['state_dict'], dtype))
    loaded = network.load_state_dict({k.removeprefix('backbone.'): v for k, v in weights.items()}, strict=False)
    assert not loaded.unexpected_keys and len(weights) == case['num_changed']
    resized = network.state_dict()
    names = {name: next(iter(regionvit.convert({name: torch.empty(0)}))) for name in case['outputs']}
    return {name: resized[ours.removeprefix('backbone.')] for name, ours in names.items()}


OPERATORS = {
    'op_stage_w4_nopeg': run_stage,
    'op_stage_w7_peg': run_stage,
    'op_convert_window': convert_window,
}
