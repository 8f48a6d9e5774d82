"""Refiner-ViT: its parts, training passes of the whole network, and token labels."""
import torch
from golden import fill_state_dict, make_input

from mmvit_backbones.backbones.refiner_vit import Block, OwnAttention, PatchEmbed, Refiner, SharedAttention
from mmvit_backbones.checkpoints import refiner
from mmvit_backbones.checkpoints.layout import rename
from mmvit_backbones.layers.position_embedding import PositionEmbedding, resize_positions


def converted(golden: dict, prefix: str, ours: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The golden's weights by our names, as those of the part of a network that is called ``prefix`` there."""
    weights = {prefix + key: value for key, value in fill_state_dict(golden['state_dict'], dtype).items()}
    return {key.removeprefix(f'backbone.{ours}'): value
            for key, value in rename(weights, refiner.LAYOUT, 'Refiner-ViT').items()}


def load(module: torch.nn.Module, weights: dict[str, torch.Tensor], dtype: torch.dtype) -> torch.nn.Module:
    missing, unexpected = module.load_state_dict(weights, strict=False)
    assert not unexpected and all(key.endswith('num_batches_tracked') for key in missing)
    return module.to(dtype).eval()


def carried_maps(case: dict, dtype: torch.dtype) -> torch.Tensor | None:
    if 'carry_shape' not in case:
        return None
    return case['gain'] * make_input(case['carry_shape'], case['carry_seed'], dtype)


@torch.no_grad()
def stem(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    module = PatchEmbed(3, golden['variant_kwargs']['embed_dim']).to(dtype)
    load(module, converted(golden, 'patch_embed.', 'embed.patches.', dtype), dtype)
    return {'out': module(make_input(case['shape'], case['seed'], dtype))}


@torch.no_grad()
def attention(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    kwargs = golden['variant_kwargs']
    kind, index = (SharedAttention, 1) if kwargs['shared'] else (OwnAttention, 0)
    module = kind(kwargs['dim'], kwargs['num_heads']).to(dtype)
    load(module, converted(golden, f'blocks.{index}.attn.', f'blocks.{index}.attn.', dtype), dtype)
    out, carried = module(make_input(case['shape'], case['seed'], dtype), carried_maps(case, dtype))
    return {'out': out, 'carry_out': carried}


@torch.no_grad()
def refine(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    module = Refiner(golden['variant_kwargs']['num_heads']).to(dtype)
    load(module, converted(golden, 'blocks.1.attn.DLA.', 'blocks.1.attn.refiner.', dtype), dtype)
    module.train(case['call'] == 'train')
    out = module(case['gain'] * make_input(case['shape'], case['seed'], dtype))
    return {'out': out, **{key.replace('norm', 'bn'): value for key, value in module.state_dict().items()}}


@torch.no_grad()
def blocks(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    kwargs = golden['variant_kwargs']
    modules = torch.nn.ModuleList(
        Block((SharedAttention if i % 2 else OwnAttention)(kwargs['dim'], kwargs['num_heads']), kwargs['dim'],
              kwargs['mlp_ratio'], 0.) for i in range(kwargs['depth'])).to(dtype)
    load(modules, converted(golden, '', 'blocks.', dtype), dtype)
    x, carried = case['gain'] * make_input(case['shape'], case['seed'], dtype), None
    for module in modules:
        x, carried = module(x, carried)
    return {'out': x, 'carry_out': carried}


@torch.no_grad()
def positions(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    table = make_input(case['shape'], case['seed'], dtype)
    if case['call'] == 'load':
        return {'out': resize_positions(table, *case['grid'])}
    module = PositionEmbedding(round((table.shape[1] - 1)**0.5), table.shape[2], 'bilinear').to(dtype)
    module.pos_embed.copy_(table)
    return {'out': module(*case['grid'])}


@torch.no_grad()
def train(model: torch.nn.Module, case: dict, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """A pass of the whole network in training mode, with the golden's exchanged box."""
    model.train()
    box = tuple(case['mix_box'] or (0, 0, 0, 0))
    features = model.backbone.read_tokens(images, box)
    class_logits, patch_logits = model.head.logits((features, ))
    state = model.state_dict()
    buffers = {key: state[next(iter(refiner.convert({key: None})))] for key in case['buffers_after']}
    return {'cls_logits': class_logits, 'aux_logits': patch_logits, **buffers}


def details(model: torch.nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a golden of the classifier records besides logits and stages."""
    features, = model.backbone(images)
    class_logits, patch_logits = model.head.logits((features, ))
    norm = features.tokens[:, 1:].transpose(1, 2).unflatten(2, features.grid)
    return {'norm': norm, 'cls_logits': class_logits, 'aux_logits': patch_logits}


OPERATORS = {'op_stem': stem, 'op_attention': attention, 'op_shared_attention': attention, 'op_refiner': refine,
             'op_blocks': blocks, 'op_pos_embed': positions}
