"""Token labels: files, geometric transforms, targets and the head."""
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, raises
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope
from PIL import Image

from mmvit_backbones.backbones.refiner_vit import TokenFeatures
from mmvit_backbones.datasets import PoolTokenLabels
from mmvit_backbones.datasets.token_label_maps import read_token_labels
from mmvit_backbones.heads import TokenLabelHead
from mmvit_backbones.zoo.building import import_mmpretrain


@pytest.fixture(autouse=True)
def in_mmpretrain_with_a_seed():
    import_mmpretrain()
    import mmpretrain.datasets  # noqa: F401
    init_default_scope('mmpretrain')
    np.random.seed(0)


def labels(num_classes: int = 10, size: int = 6) -> torch.Tensor:
    scores = torch.randn(num_classes, size, size).topk(5, dim=0)
    return torch.stack([scores.values, scores.indices.float()])


@pytest.mark.parametrize('content, words', [
    (torch.zeros(2, 4, 3, 3), ['(2, 5, H, W)', '(2, 4, 3, 3)']),
    (dict(weights=torch.zeros(1)), ['dict']),
    (torch.full((2, 5, 3, 3), 10.), ['10', '0 to 9']),
    (torch.full((2, 5, 3, 3), 0.5), ['0 to 9']),
    (torch.full((2, 5, 3, 3), float('nan')), ['finite']),
    (torch.full((2, 5, 3, 3), -1.), ['0 to 9', '-1']),
    (torch.stack([torch.full((5, 3, 3), float('inf')), torch.ones(5, 3, 3)]), ['finite']),
    (torch.zeros(2, 5, 0, 3), ['(2, 5, 0, 3)']), (torch.zeros(2, 5, 3), ['(2, 5, 3)']),
    (torch.zeros(3, 5, 3, 3), ['(3, 5, 3, 3)']),
    (Path, ['Path']),
], ids=['shape', 'dict', 'range', 'fractions', 'nan', 'negative', 'infinite', 'empty', 'flat', 'three', 'code'])
def test_bad_files_are_named(content, words, tmp_path):
    torch.save(content, tmp_path / 'rose.pt')
    with raises(ValueError, 'rose.pt', *words):
        read_token_labels(tmp_path / 'rose.pt', 10)


def test_broken_and_missing_files_are_named(tmp_path):
    torch.save(labels(), tmp_path / 'rose.pt')
    (tmp_path / 'half.pt').write_bytes((tmp_path / 'rose.pt').read_bytes()[:500])
    with raises(ValueError, 'half.pt', 'truncated'):
        read_token_labels(tmp_path / 'half.pt', 10)
    with raises(FileNotFoundError, 'none.pt'):
        read_token_labels(tmp_path / 'none.pt', 10)


@pytest.mark.parametrize('num_classes', [3, 5, 10])
def test_values_of_a_file(num_classes, tmp_path):
    """With fewer than five classes, the file has all classes."""
    top_k = min(5, num_classes)
    best = torch.arange(num_classes - top_k, num_classes, dtype=torch.float32)[:, None, None].expand(top_k, 2, 3)
    written = torch.stack([torch.randn(top_k, 2, 3), best]).half()
    torch.save(written, tmp_path / 'rose.pt')
    scores, classes = read_token_labels(tmp_path / 'rose.pt', num_classes)
    assert scores.equal(written[0].float()) and classes.dtype == torch.int64 and classes.equal(written[1].long())
    with raises(ValueError, 'rose.pt', f'0 to {num_classes - 2}' if num_classes > 5 else f'(2, {top_k - 1}, H, W)'):
        read_token_labels(tmp_path / 'rose.pt', num_classes - 1)


def checkerboard(rows: int = 6, columns: int = 8, side: int = 30) -> dict:
    """Returns an image with a different color at each label position; the color is also the score and the class."""
    colors = torch.arange(1, rows * columns + 1).view(rows, columns)
    colored = colors.repeat_interleave(side, 0).repeat_interleave(side, 1)
    return dict(img=np.repeat(colored.numpy().astype(np.uint8)[..., None], 3, axis=2),
                token_scores=colors.float().repeat(5, 1, 1), token_classes=colors.repeat(5, 1, 1))


def colors_at_centers(image: np.ndarray, rows: int, columns: int) -> torch.Tensor:
    height, width = image.shape[:2]
    return torch.from_numpy(image[..., 0].copy())[(2 * torch.arange(rows)[:, None] + 1) * height // (2 * rows),
                                           (2 * torch.arange(columns) + 1) * width // (2 * columns)]


POLICIES = [dict(type='Rotate', magnitude_range=(0, 30), prob=1.),
            dict(type='Shear', magnitude_range=(0, 0.3), prob=1., direction='horizontal', interpolation='nearest'),
            dict(type='Shear', magnitude_range=(0, 0.3), prob=1., direction='vertical', interpolation='nearest'),
            dict(type='Translate', magnitude_range=(0, 0.45), prob=1., direction='horizontal'),
            dict(type='Translate', magnitude_range=(0, 0.45), prob=1., direction='vertical')]


@pytest.mark.parametrize('policy', POLICIES, ids=lambda policy: policy['type'])
def test_labels_move_with_the_image(policy):
    """The image is not square; pixels and scores from outside the image are 0."""
    transform = TRANSFORMS.build(dict(type='TransformWithTokenLabels', transforms=[
        dict(type='RandomFlip', prob=1., direction='horizontal'),
        dict(type='RandAugment', policies=[policy], num_policies=1, magnitude_level=7, hparams=dict(pad_val=0))]))
    before = checkerboard()
    results = transform(checkerboard())
    scores = results['token_scores']
    assert torch.equal(scores[0], colors_at_centers(results['img'], 6, 8).float())
    assert (scores == 0).any() and not torch.equal(scores, before['token_scores'].flip(-1))
    assert torch.equal(scores, results['token_classes'].float())


def test_pooled_labels_match_the_cropped_image():
    """The color at the center of a patch is the class with the highest score in the patch's target."""
    transform = TRANSFORMS.build(dict(type='TransformWithTokenLabels', transforms=[
        dict(type='RandomResizedCrop', scale=80, crop_ratio_range=(0.2, 0.5), interpolation='nearest')]))
    pool = TRANSFORMS.build(dict(type='PoolTokenLabels', num_classes=49, grid_size=16))
    for _ in range(3):
        results = checkerboard()
        results['token_scores'] = torch.cat([torch.full((1, 6, 8), 50.), torch.zeros(4, 6, 8)])
        results['token_classes'] = torch.cat([results['token_classes'][:1], torch.zeros(4, 6, 8).long()])
        results = pool(transform(results))
        seen = colors_at_centers(results['img'], 16, 16).flatten()
        pooled = results['gt_score'].view(49, 257)[:, 1:].argmax(0)
        assert (seen == pooled).float().mean() > 0.6  # a patch on the border of two positions may have either class
        assert len(seen.unique()) > 3


@pytest.mark.parametrize('transforms, word', [
    (['RandomResizedCrop', 'RandomFlip'], 'last'), (['ColorJitter'], 'ColorJitter')])
def test_transforms_that_would_lose_labels_are_refused(transforms, word):
    arguments = dict(RandomResizedCrop=dict(scale=8), RandomFlip=dict(prob=0.5))
    with pytest.raises(ValueError, match=word):
        TRANSFORMS.build(dict(type='TransformWithTokenLabels', transforms=[
            dict(type=name, **arguments.get(name, {})) for name in transforms]))


@pytest.mark.parametrize('augment', ['Mixup', 'CutMix'])
def test_targets_pass_through_mmpretrain(augment):
    """Targets can be packed, collated and mixed like other scores, and the losses accept them."""
    samples = []
    for label in range(4):
        results = dict(img=np.zeros((32, 32, 3), np.uint8), gt_label=label, token_scores=labels()[0],
                       token_classes=labels()[1].long())
        samples.append(TRANSFORMS.build(dict(type='PackInputs'))(PoolTokenLabels(10, 2)(results)))
    preprocess = MODELS.build(dict(
        type='ClsDataPreprocessor', num_classes=10, batch_augments=dict(augments=[dict(type=augment, alpha=1.)])))
    data = dict(inputs=torch.stack([s['inputs'] for s in samples]), data_samples=[s['data_samples'] for s in samples])
    data = preprocess(data, training=True)
    head = TokenLabelHead(10, 8, map_loss=dict(type='MapSimilarityLoss', num_pairs=1))
    maps = tuple(torch.rand(4, 2, 5, 5) for _ in range(2))
    losses = head.loss((TokenFeatures(torch.randn(4, 5, 8), (2, 2), (0, 0, 1, 2), maps), ), data['data_samples'])
    assert losses.keys() == {'loss_class', 'loss_dense', 'loss_maps'} and all(x.isfinite() for x in losses.values())
    assert head.targets(data['data_samples'], torch.float32).sum(1).allclose(torch.tensor(1.01))  # 1 + 0.1 / 10 classes


@pytest.mark.parametrize('name, grid, border', [
    ('imagenet_refiner_vit_s', 14, 0), ('imagenet_refiner_vit_m_384', 24, 0), ('imagenet_refiner_vit_l_448', 28, 26)])
def test_pipelines_of_the_recipes(name, grid, border, tmp_path):
    """Training images have a target per patch; test images of the L recipe have a black frame, as published."""
    colored = tmp_path / 'roses/1.png'
    colored.parent.mkdir()
    Image.fromarray(np.random.randint(1, 256, (90, 120, 3), np.uint8)).save(colored)
    torch.save(labels(1000, 18), colored.with_suffix('.pt'))
    config = Config.fromfile(ROOT / f'configs/{name}.py')
    pipeline = config.train_dataloader.dataset.pipeline
    pipeline[1].root = str(tmp_path)
    packed = Compose(pipeline)(dict(img_path=str(colored), gt_label=2))
    assert packed['inputs'].shape == (3, 16 * grid, 16 * grid)
    assert packed['data_samples'].gt_score.shape == (1000 * (1 + grid**2), )
    packed = Compose(config.test_dataloader.dataset.pipeline)(dict(img_path=str(colored), gt_label=2))
    rows = packed['inputs'].float().amax((0, 2))
    assert packed['inputs'].shape == (3, 16 * grid, 16 * grid)
    assert (rows[:border] == 0).all() and (rows[border:16 * grid - border] > 0).all()
