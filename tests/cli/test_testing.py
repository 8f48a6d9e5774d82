"""The config of a test gets metrics, drawings, test-time augmentation and exported files."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import ROOT, raises
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from PIL import Image

from mmvit_backbones.cli import testing
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.config import load_config


def config(name):
    return load_config(str(ROOT / 'configs' / f'{name}.py'))


@pytest.mark.parametrize('name, key, hook', [
    ('imagenet_reswin_t', 'enable', 'VisualizationHook'), ('mask_rcnn_reswin_t', 'draw', 'DetVisualizationHook'),
    ('upernet_reswin_t', 'draw', 'SegVisualizationHook')])
def test_every_prediction_is_shown(name, key, hook):
    cfg = config(name)
    cfg.pop('visualizer', None)
    cfg.pop('default_hooks')
    testing.draw_predictions(cfg, True, 'out', 3.)
    assert cfg.default_hooks.visualization == {'type': hook, key: True, 'show': True, 'interval': 1, 'wait_time': 3.}
    assert cfg.visualizer.type.endswith('Visualizer')
    testing.draw_predictions(cfg, False, 'out', 0)
    assert (cfg.default_hooks.visualization.show, cfg.default_hooks.visualization.wait_time) == (False, 0)


def test_metrics_are_added():
    """A metric replaces the metric of the same type; a metric per class is added to that of the config."""
    cfg = config('imagenet_reswin_t')
    cfg.work_dir = 'work'
    testing.add_class_figures(cfg)
    testing.use_real(cfg, 'real.json')
    testing.use_real(cfg, 'other.json')
    testing.save_predictions(cfg, 'out.pickle')
    metrics = {metric['type']: metric for metric in cfg.test_evaluator}
    assert list(metrics) == ['Accuracy', 'PerClassAccuracy', 'ImageNetReaL', 'DumpResults']
    assert metrics['PerClassAccuracy'].out_file == 'work/confusion_matrix.png'
    assert (metrics['ImageNetReaL'].label_file, metrics['ImageNetReaL'].topk) == ('other.json', (1, 5))
    assert metrics['DumpResults'].out_file_path == 'out.pickle'
    detector, segmenter = config('mask_rcnn_reswin_t'), config('upernet_reswin_t')
    for cfg in detector, segmenter:
        testing.add_class_figures(cfg)
        testing.save_predictions(cfg, 'out.pkl')
    assert [metric['type'] for metric in detector.test_evaluator] == ['CocoMetric', 'DumpDetResults']
    assert detector.test_evaluator[0].classwise
    assert segmenter.test_evaluator.output_dir == 'out.pkl' and 'classwise' not in segmenter.test_evaluator
    with raises(UsageError, '--out', '.pkl', '.pickle', 'out.txt'):
        testing.save_predictions(detector, 'out.txt')
    with raises(UsageError, '--real', 'ImageNet', 'CocoDataset'):
        testing.use_real(detector, 'real.json')


def test_images_are_mirrored_in_test_time_augmentation():
    """The first view is not flipped; mmseg takes the annotations from it."""
    for name, model, keys in [
            ('imagenet_reswin_t', 'AverageClsScoreTTA', None), ('upernet_reswin_t', 'SegTTAModel', ()),
            ('retinanet_rest_s', 'DetTTAModel', ('flip', 'flip_direction'))]:
        cfg = config(name)
        cfg.pop('tta_pipeline', None)
        cfg.pop('tta_model', None)
        before, module = cfg.test_dataloader.dataset.pipeline, cfg.model.type
        testing.use_tta(cfg)
        *steps, views = cfg.test_dataloader.dataset.pipeline
        assert (cfg.model.type, cfg.model.module.type) == (model, module)
        flips, *others, (pack, ) = views['transforms']
        assert flips == [dict(type='RandomFlip', prob=0.), dict(type='RandomFlip', prob=1.)]
        annotations = [step for step in before if step['type'].endswith('LoadAnnotations')]
        assert [step for step, in others] == annotations
        assert [*steps, *annotations] == sorted(before[:-1], key=lambda step: step in annotations)
        assert pack['type'] == before[-1]['type']
        assert keys is None or tuple(pack.get('meta_keys', ()))[-2:] == keys
    assert cfg.model.tta_cfg == dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)


def test_models_without_test_time_augmentation():
    for name in 'mask_rcnn_reswin_t', 'mask2former_reswin_t':
        cfg = config(name)
        cfg.pop('tta_model', None)
        with raises(UsageError, 'masks', 'tta_model'):
            testing.use_tta(cfg)
    cfg.tta_model = dict(type='OwnModel')
    testing.use_tta(cfg)
    assert cfg.model.type == 'OwnModel'
    cfg = config('imagenet_reswin_t')
    cfg.default_hooks.visualization = dict(type='VisualizationHook', enable=True)
    with raises(UsageError, 'VisualizationHook'):
        testing.use_tta(cfg)


def test_classes_of_checkpoint_and_data_have_the_same_order(tmp_path):
    cfg, path = config('mask_rcnn_reswin_t'), tmp_path / 'model.pth'
    cfg.test_dataloader.dataset.metainfo = dict(classes=('cat', 'dog'))
    for classes in ['cat', 'dog'], ['cat', 'cow'], None:
        torch.save(dict(state_dict={}, meta=dict(dataset_meta=classes and dict(classes=classes))), path)
        testing.check_classes(cfg, str(path))
    torch.save(dict(state_dict={}, meta=dict(dataset_meta=dict(classes=['dog', 'cat']))), path)
    with raises(UsageError, 'model.pth', "('dog', 'cat')", "('cat', 'dog')"):
        testing.check_classes(cfg, str(path))


def test_exported_files_need_no_preprocessing():
    cfg = config('mask_rcnn_reswin_t')
    testing.use_exported(cfg, './a/model.onnx')
    assert cfg.model == dict(type='ExportedModel', path='a/model.onnx')
    assert 'data_preprocessor' not in cfg and cfg.test_dataloader.collate_fn.type == 'pseudo_collate'
    assert [step['type'] for step in cfg.test_dataloader.dataset.pipeline] == [
        'LoadImageFromFile', 'LoadAnnotations', 'PackDetInputs']
    assert testing.is_exported('a.onnx') and testing.is_exported('A.ONNX') and not testing.is_exported('a.pth')
    assert not testing.is_exported(None)


@pytest.mark.parametrize('root, name', [('data', 'val/a.png'), ('elsewhere', 'a.png')])
def test_drawings_of_images_without_annotations(root, name, tmp_path):
    """Objects below the threshold are not drawn. Images outside the root folder are drawn into the output folder."""
    (tmp_path / 'data/val').mkdir(parents=True)
    Image.new('RGB', (500, 500), 'gray').save(tmp_path / 'data/val/a.jpg')
    sample = DetDataSample(metainfo=dict(img_path=str(tmp_path / 'data/val/a.jpg')))
    sample.pred_instances = InstanceData(bboxes=torch.tensor([[100., 100, 200, 200], [300, 300, 400, 400]]),
                                         labels=torch.tensor([0, 1]), scores=torch.tensor([0.5, 0.49]))
    dataset = SimpleNamespace(metainfo=dict(classes=('cat', 'dog'), palette=[(255, 0, 0), (0, 255, 0)]),
                              data_root=str(tmp_path / root))
    runner = SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset))
    testing.DrawingHook(str(tmp_path / 'out'), 0.5).after_test_iter(runner, 0, {}, [sample])
    assert [str(path.relative_to(tmp_path / 'out')) for path in (tmp_path / 'out').rglob('*.png')] == [name]
    drawn = np.asarray(Image.open(tmp_path / 'out' / name))
    assert drawn.shape == (500, 500, 3)
    assert drawn[150, 100].tolist() == [255, 0, 0] and not (drawn == [0, 255, 0]).all(-1).any()
