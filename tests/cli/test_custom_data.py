"""Configs with custom data: `--class-folder`, `--coco-folder`, `--seg-folder` and `--data-root`."""
import json
import shutil
from pathlib import Path

import pytest
from helpers import ROOT, raises
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from mmvit_backbones.cli.custom_data import use_custom_data
from mmvit_backbones.data.checks import check_data, sample_error
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.config import dicts_in, load_config

pytestmark = pytest.mark.usefixtures('frozen')


def config(name: str):
    return load_config(str(ROOT / 'configs' / f'{name}.py'))


@pytest.fixture
def folder(tmp_path):
    """Creates a COCO data set with two classes, whose ids are not contiguous and don't start at 0."""
    (tmp_path / 'annotations').mkdir()
    shape = dict(bbox=[2, 3, 20, 30], area=600, iscrowd=0, segmentation=[[2, 3, 22, 3, 22, 33]])
    for split in ('train', 'val'):
        (tmp_path / split).mkdir()
        with Image.open(next((ROOT / 'data/coco_mini' / split).glob('*.jpg'))) as image:
            width, height = image.size
        shutil.copy(image.filename, tmp_path / split / 'a.jpg')
        content = dict(
            images=[dict(id=1, file_name='a.jpg', width=width, height=height)],
            annotations=[dict(shape, id=1, image_id=1, category_id=7), dict(shape, id=2, image_id=1, category_id=3)],
            categories=[dict(id=3, name='cat'), dict(id=7, name='dog')])
        (tmp_path / f'annotations/instances_{split}.json').write_text(json.dumps(content))
    return tmp_path


def change(folder: Path, split: str, key: str, value) -> None:
    file = folder / f'annotations/instances_{split}.json'
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))


@pytest.mark.parametrize('name, heads', [
    ('mask_rcnn_reswin_t', 2), ('cascade_mask_rcnn_reswin_t', 4), ('retinanet_rest_s', 1)])
def test_heads_and_data_sets_use_the_classes_of_the_folder(folder, name, heads):
    from mmdet.registry import DATASETS
    cfg = config(name)
    use_custom_data(cfg, coco_folder=str(folder))
    assert [node['num_classes'] for node in dicts_in(cfg.model) if 'num_classes' in node] == [2] * heads
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == str(folder / 'annotations/instances_val.json')
    for split in ('train', 'val', 'test'):
        dataset = DATASETS.build(dict(cfg[f'{split}_dataloader'].dataset, _scope_='mmdet'))
        labels = [instance['bbox_label'] for instance in dataset.get_data_info(0)['instances']]
        assert dataset.metainfo['classes'] == ('cat', 'dog') and labels == [1, 0]
        assert Path(dataset.get_data_info(0)['img_path']).is_file()


def test_mistakes_in_a_coco_folder_are_reported(folder):
    with raises(UsageError, '--coco-folder', 'mmdet', 'mmseg'):
        use_custom_data(config('upernet_reswin_t'), coco_folder=str(folder))
    with raises(UsageError, 'annotations/instances_train.json'):
        use_custom_data(config('mask_rcnn_reswin_t'), coco_folder=str(folder / 'train'))
    change(folder, 'val', 'categories', [dict(id=3, name='cow')])
    with raises(UsageError, 'classes', 'cow', 'cat'):
        use_custom_data(config('mask_rcnn_reswin_t'), coco_folder=str(folder))
    (folder / 'annotations/instances_val.json').write_text('[]')
    with raises(UsageError, 'instances_val.json', 'COCO'):
        use_custom_data(config('mask_rcnn_reswin_t'), coco_folder=str(folder))


def test_losses_of_mask2former_have_a_weight_per_class(folder):
    cfg = config('mask2former_vitaev2_vsa_s')
    use_custom_data(cfg, coco_folder=str(folder))
    head = cfg.model.panoptic_head
    assert head.num_things_classes == cfg.model.panoptic_fusion_head.num_things_classes == 2
    assert head.loss_cls.class_weight == [1., 1., .1]
    change(folder, 'train', 'annotations', [dict(id=1, image_id=1, category_id=3, bbox=[2, 3, 20, 30], area=600)])
    with raises(UsageError, 'mask', '--boxes'):
        use_custom_data(cfg, coco_folder=str(folder))


def test_pipelines_filters_and_subsets_are_kept(folder):
    cfg = config('mask_rcnn_reswin_t')
    before = {split: dict(cfg[f'{split}_dataloader'].dataset, indices=7) for split in ('train', 'val', 'test')}
    for split, dataset in before.items():
        cfg[f'{split}_dataloader'].dataset = dict(dataset, metainfo=dict(classes=('x', )), serialize_data=False)
    use_custom_data(cfg, coco_folder=str(folder))
    for split, old in before.items():
        dataset = cfg[f'{split}_dataloader'].dataset
        kept = {key: old[key] for key in ('pipeline', 'indices', 'filter_cfg', 'test_mode') if key in old}
        assert {key: dataset[key] for key in kept} == kept and 'serialize_data' not in dataset
        part = 'train' if split == 'train' else 'val'
        assert (dataset.data_root, dataset.data_prefix.img) == (f'{folder}/', f'{part}/')
        assert dataset.metainfo == dict(classes=('cat', 'dog'))


@pytest.mark.parametrize('options, words', [
    (dict(coco_folder='x', val_fraction=0.), ['--val-fraction', 'between 0 and 1', '0.0']),
    (dict(val_fraction=.1), ['--val-fraction', '--coco-folder']),
    (dict(val_fraction=.1, data_root='x'), ['--val-fraction', '--coco-folder'])])
def test_fractions_that_cannot_be_used(options, words):
    with raises(UsageError, *words):
        use_custom_data(config('mask_rcnn_reswin_t'), **options)


def test_annotations_without_masks_need_a_detector_without_masks(folder):
    change(folder, 'train', 'annotations', [dict(id=1, image_id=1, category_id=3, bbox=[2, 3, 20, 30], area=600)])
    use_custom_data(config('retinanet_rest_s'), coco_folder=str(folder))
    with raises(UsageError, '1 of 1', '--boxes'):
        use_custom_data(config('mask_rcnn_reswin_t'), coco_folder=str(folder))


# ---- classifiers


def test_folders_become_classes_of_a_classifier():
    from mmpretrain.registry import DATASETS
    cfg = config('imagenet_reswin_t')
    use_custom_data(cfg, class_folder=str(ROOT / 'data/flowers_mini'))
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 5
    assert cfg.val_evaluator.topk == (1, 5)
    for split, number in (('train', 240), ('val', 60), ('test', 60)):
        dataset = DATASETS.build(dict(cfg[f'{split}_dataloader'].dataset, _scope_='mmpretrain'))
        assert dataset.CLASSES == ('daisy', 'dandelion', 'roses', 'sunflowers', 'tulips') and len(dataset) == number
        assert dataset[0]['data_samples'].gt_label == 0


def test_configs_with_token_labels_cannot_use_a_class_folder():
    with raises(UsageError, '--class-folder', 'imagenet_refiner_vit_s.py', 'token labels', 'another config'):
        use_custom_data(config('imagenet_refiner_vit_s'), class_folder=str(ROOT / 'data/flowers_mini'))


@pytest.mark.parametrize('number, topk', [(1, (1, )), (4, (1, )), (5, (1, 5)), (6, (1, 5))])
def test_accuracies_among_more_classes_than_there_are_are_left_out(number, topk, tmp_path, capsys):
    for split in 'train', 'val':
        for label in range(number):
            (tmp_path / split / f'c{label}').mkdir(parents=True)
            Image.new('RGB', (8, 8)).save(tmp_path / split / f'c{label}/a.jpg')
    cfg = config('imagenet_reswin_t')
    use_custom_data(cfg, class_folder=str(tmp_path), list_folder=str(tmp_path / 'lists'))
    assert cfg.val_evaluator.topk == cfg.test_evaluator.topk == topk and cfg.model.head.num_classes == number
    lines = [f'c{label}/a.jpg {label}' for label in range(number)]
    assert all((tmp_path / f'lists/{part}.txt').read_text().splitlines() == lines for part in ('train', 'val'))
    assert 'no validation images' not in capsys.readouterr().err


@pytest.mark.parametrize('suffix', ['.jfif', '.webp'])
def test_all_image_formats_are_read(suffix, tmp_path):
    for path in ('train/cat', 'train/dog', 'val/cat', 'val/dog'):
        (tmp_path / path).mkdir(parents=True)
        Image.new('RGB', (64, 64), 'red').save(
            tmp_path / path / f'a{suffix.upper()}', format='JPEG' if suffix == '.jfif' else None)
    cfg = config('../tests/configs/imagenet_reswin_t')
    use_custom_data(cfg, class_folder=str(tmp_path))
    check_data(cfg, ['train', 'val'])
    init_default_scope('mmpretrain')
    for split in ('train', 'val'):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        assert len(dataset) == 2 and dataset[0]['inputs'][2].float().mean() > 200  # red, in BGR order
        assert not sample_error((dataset.get_data_info(0), 2))


# ---- segmenters


@pytest.fixture
def seg_folder(tmp_path):
    """Creates a folder with the images of data/coco_mini and their semantic masks of five classes."""
    for split in ('train', 'val'):
        (tmp_path / 'images').mkdir(exist_ok=True)
        (tmp_path / 'masks' / split).mkdir(parents=True)
        (tmp_path / 'images' / split).symlink_to(ROOT / 'data/coco_mini' / split)
        for mask in (ROOT / 'data/coco_mini/semantic' / split).iterdir():
            shutil.copy(mask, tmp_path / 'masks' / split)
    (tmp_path / 'classes.txt').write_text('background\nperson\nvehicle\nanimal\nother\n')
    return tmp_path


def test_segmenter_uses_masks(seg_folder):
    from mmseg.registry import DATASETS
    cfg = config('upernet_reswin_t')
    use_custom_data(cfg, seg_folder=str(seg_folder))
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == 5
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, _scope_='mmseg'))
    sample = dataset[0]['data_samples'].gt_sem_seg.data
    assert len(dataset) == 32 and dataset.metainfo['classes'][1] == 'person'
    assert 0 in sample and set(sample.unique().tolist()) <= {0, 1, 2, 3, 4, 255}


# ---- all tasks


@pytest.mark.parametrize('name', ['imagenet_reswin_t', 'mask_rcnn_reswin_t', 'upernet_reswin_t'])
def test_data_root_is_replaced(name):
    cfg = config(name)
    ann_file = cfg.val_evaluator.get('ann_file')
    use_custom_data(cfg, data_root='/mnt/here')
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == '/mnt/here/'
    if ann_file:
        assert cfg.val_evaluator.ann_file == '/mnt/here/' + ann_file.removeprefix('data/coco/')
        cfg.val_evaluator.ann_file = '/mnt/hereafter/a.json'  # outside the root folder
        use_custom_data(cfg, data_root='there')
        assert cfg.val_evaluator.ann_file == '/mnt/hereafter/a.json'
        assert cfg.test_evaluator.ann_file == 'there/' + ann_file.removeprefix('data/coco/')
