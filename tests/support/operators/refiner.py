"""Goldens of Refiner-ViT: positions, training passes of the whole network, and token labels."""
import numpy as np
import pytest
import torch
from golden import make_input

from mmvit_backbones.datasets import PoolTokenLabels
from mmvit_backbones.heads import TokenLabelHead
from mmvit_backbones.layers.position_embedding import PositionEmbedding
from mmvit_backbones.losses import MapSimilarityLoss
from mmvit_backbones.ops.resizing import resize_positions
from mmvit_backbones.zoo.converters import refiner


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


OPERATORS = {'op_pos_embed': positions, 'op_token_label_target': token_label_target,
             'op_token_label_loss': token_label_loss}
DETAILS = {'RefinerViT': details}
TRAINING_PASSES = {'RefinerViT': train}
