"""Goldens of Refiner-ViT: parts of the network, training passes of the whole network, and token labels."""
import numpy as np
import pytest
import torch
from golden import fill_state_dict, make_input

from mmvit_backbones.backbones.refiner_vit import (
    Refiner,
    RefinerAttention,
    RefinerBlock,
    RefinerPatchEmbed,
    SharedAttention,
)
from mmvit_backbones.datasets import PoolTokenLabels
from mmvit_backbones.heads import TokenLabelHead
from mmvit_backbones.layers.position_embedding import PositionEmbedding
from mmvit_backbones.losses import MapSimilarityLoss
from mmvit_backbones.ops.resizing import resize_positions
from mmvit_backbones.zoo.converters import refiner
from mmvit_backbones.zoo.converters.layout import rename


def converted(golden: dict, prefix: str, ours: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Returns a golden's weights under our names.

    The golden is of a module that is called ``prefix`` in the authors' network and ``ours`` in our backbone.
    """
    weights = {prefix + key: value for key, value in fill_state_dict(golden['state_dict'], dtype).items()}
    return {key.removeprefix(f'backbone.{ours}'): value
            for key, value in rename(weights, refiner.NAMES, 'Refiner-ViT', 'the golden').items()}


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
    module = RefinerPatchEmbed(3, golden['variant_kwargs']['embed_dim']).to(dtype)
    load(module, converted(golden, 'patch_embed.', 'embed.patches.', dtype), dtype)
    return {'out': module(make_input(case['shape'], case['seed'], dtype))}


@torch.no_grad()
def attention(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    kwargs = golden['variant_kwargs']
    kind, index = (SharedAttention, 1) if kwargs['shared'] else (RefinerAttention, 0)
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
        RefinerBlock(kwargs['dim'],
                     (SharedAttention if i % 2 else RefinerAttention)(kwargs['dim'], kwargs['num_heads']),
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
        return {'out': resize_positions(table, *case['grid'], num_prefix_tokens=1)}
    grid_size = round((table.shape[1] - 1)**0.5)
    module = PositionEmbedding(table.shape[2], 1, grid_size, interpolation='bilinear').to(dtype)
    module.pos_embed.copy_(table)
    rows, columns = case['grid']
    return {'out': module(torch.zeros(1, 1 + rows * columns, table.shape[2], dtype=dtype), rows, columns)}


@torch.no_grad()
def train(model: torch.nn.Module, case: dict, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Runs a whole network in training mode; images exchange the patches in the case's ``mix_box``."""
    model.train()
    box = tuple(case['mix_box'] or (0, 0, 0, 0))
    model.backbone.draw_bbox = lambda grid: box
    features, = model.backbone(images)
    class_logits, patch_logits = model.head.logits((features, ))
    state = model.state_dict()
    ours = {key: next(iter(refiner.REFINER_VIT.convert({key: torch.empty(0)}))) for key in case['buffers_after']}
    buffers = {key: state[name] for key, name in ours.items()}
    return {'cls_logits': class_logits, 'aux_logits': patch_logits, **buffers}


def details(model: torch.nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Returns a classifier's map of patch tokens, and the logits of the class token and of the patches."""
    features, = model.backbone(images)
    class_logits, patch_logits = model.head.logits((features, ))
    norm = features.tokens[:, 1:].transpose(1, 2).unflatten(2, features.grid)
    return {'norm': norm, 'cls_logits': class_logits, 'aux_logits': patch_logits}


def token_label_target(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Returns the smoothed ground truth, the class token's target and the patches' targets.

    With a label size of 1, there are no patch targets.
    """
    pytest.importorskip('torchvision')  # for RoIAlign
    kwargs = golden['variant_kwargs']
    num_classes, size = kwargs['num_classes'], kwargs['map_size']
    dense = make_input((kwargs['batch'], num_classes, size, size), 0, dtype)
    classes = torch.from_numpy(np.argsort(-dense.numpy(), axis=1, kind='stable')[:, :kwargs['top_k']])
    scores = dense.gather(1, classes)
    pool = PoolTokenLabels(num_classes, case['label_size'], case['smoothing'], transposed_boxes=True)
    targets = []
    for i, (crop, label) in enumerate(zip(case['crops'], case['labels'])):
        labels = dict(token_scores=scores[i], token_classes=classes[i], token_box=crop)
        target = pool(labels)['gt_score'].unflatten(0, (num_classes, -1))
        truth = torch.full((num_classes, 1), case['smoothing'] / num_classes, dtype=dtype)
        truth[label] += 1 - case['smoothing']
        targets.append(torch.cat([truth, target if case['label_size'] > 1 else target[:, :1]], dim=1))
    targets = torch.stack(targets)
    return {'out': case['lam'] * targets + (1 - case['lam']) * targets.flip(0)}


def token_label_loss(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    pytest.importorskip('mmpretrain.models')
    kwargs = golden['variant_kwargs']
    batch, num_classes, grid = kwargs['batch'], kwargs['num_classes'], tuple(kwargs['grid'])
    class_logits = make_input((batch, num_classes), 0, dtype)
    patch_logits = make_input((batch, kwargs['num_tokens'], num_classes), 1, dtype)
    if case['dense']:  # removes the ground truth, which this loss does not use
        target = make_input((batch, num_classes, 2 + kwargs['num_tokens']), 2, dtype).softmax(1)[:, :, 1:]
    else:
        target = make_input((batch, num_classes), 3, dtype).softmax(1)[:, :, None]
    is_plain = case['call'] == 'plain_loss'
    head = TokenLabelHead(num_classes, 8, dense=not is_plain)
    losses = head.losses(class_logits, None if is_plain else patch_logits, target, grid,
                         tuple(case.get('box', (0, 0, 0, 0))))
    if case['attn']:
        maps = [make_input((4, 3, 17, 17), 20 + i, dtype).softmax(-1) for i in range(5)]
        losses['loss_maps'] = MapSimilarityLoss(case['n_comn'])(maps)
    return {'value': sum(losses.values())}


OPERATORS = {'op_stem': stem, 'op_attention': attention, 'op_shared_attention': attention, 'op_refiner': refine,
             'op_blocks': blocks, 'op_pos_embed': positions, 'op_token_label_target': token_label_target,
             'op_token_label_loss': token_label_loss}
DETAILS = {'RefinerViT': details}
TRAINING_PASSES = {'RefinerViT': train}
