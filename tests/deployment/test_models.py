"""Exported classifiers, segmenters and detectors return the framework's predictions."""
import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, save_run
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image
from subcommands import call
from tiny_configs import TINY_CONFIGS
from torch import nn

pytest.importorskip('onnx')

import onnx
from onnx import TensorProto

from mmvit.deployment.agreement import agreement_of
from mmvit.deployment.differences import LIMITS, PyTorchOutputs, compare_outputs
from mmvit.deployment.examples import examples_of
from mmvit.deployment.exporting import write_parts
from mmvit.deployment.instances import TwoStageInstances
from mmvit.deployment.parts import exported_geometry, take_apart
from mmvit.frameworks.building import build_model
from mmvit.inference import Predictor
from mmvit.inference.runtimes import DETAILS, PyTorchModel, installed_runtimes, open_session
from mmvit_backbones.errors import UsageError
from mmvit_backbones.export.graphs import ignore_deprecations
from mmvit_backbones.ops.library import FOLDER, library_name

IMAGE_FOLDER = ROOT / 'data/coco_mini/val'
PATHS = sorted(IMAGE_FOLDER.glob('*.jpg'))[:6]
IMAGES = [np.array(Image.open(path).convert('RGB')) for path in PATHS]
SMALL_IMAGES = [IMAGES[0][:height, :width] for height, width in ((50, 50), (9, 140), (140, 9))]
LOAD = dict(type='LoadImageFromFile')
OPERATORS = FOLDER / library_name('cpp', torch.__version__)


@pytest.mark.parametrize('change, message', [
    (dict(model=dict(type='DINO')), 'DINO cannot be exported; allowed'),
    (dict(model=dict(type='FCOS')), 'FCOS cannot be exported; allowed for mmdet are RetinaNet'),
    (dict(model=dict(test_cfg=dict(rcnn=dict(nms=dict(type='soft_nms'))))), 'soft_nms cannot be exported'),
    (dict(test_dataloader=dict(dataset=dict(pipeline=[LOAD, dict(type='RandomFlip')]))), 'step RandomFlip'),
    (dict(test_dataloader=dict(dataset=dict(pipeline=[dict(LOAD, imdecode_backend='pillow')]))), 'cv2, got pillow'),
    *[(dict(test_dataloader=dict(dataset=dict(pipeline=[
        LOAD, dict(type='ResizeEdge', scale=64, edge=edge), dict(type='CenterCrop', crop_size=side)]))), message)
      for edge, side, message in [('long', 64, "edge='short', got 'long'"), ('short', 65, 'at most 64 .* got 65'),
                                  ('short', 64, 'CenterCrop in the test pipeline of a detector')]],
])
def test_models_that_cannot_be_exported_are_refused(change, message):
    cfg = Config.fromfile(ROOT / 'tests/configs/mask_rcnn_reswin_t.py')
    cfg.merge_from_dict(change)
    with pytest.raises(UsageError, match=message):
        exported_geometry(cfg)


@pytest.mark.parametrize('change, message', [
    *[(dict(model=dict(head=dict(type=head))), f'head {head} cannot be exported')  # whose scores are no softmax
      for head in ('MultiLabelLinearClsHead', 'CSRAClsHead', 'LinearRegressionHead', 'MultiTaskHead')],
    (dict(data_preprocessor=dict(pad_size_divisor=32)), 'pad_size_divisor=32, got 56 x 56'),
    *[(dict(test_dataloader=dict(dataset=dict(pipeline=[LOAD, *resize, dict(type='CenterCrop', crop_size=56)]))),
       message) for resize, message in [  # beyond the border of an image
        ([], 'got None'),
        ([dict(type='Resize', scale=(80, 64), keep_ratio=True)], "keep_ratio=False, .* got .*'Resize'"),
        ([dict(type='ResizeByOrientation', scale=(80, 64), keep_ratio=True)], "keep_ratio=False, .* got .*'Res"),
        ([dict(type='Resize', scale=(80, 55))], 'at most 80 x 55 pixels .* got 56 x 56'),
        ([dict(type='ResizeByOrientation', scale=(80, 55))], 'at most 55 x 55 pixels .* got 56 x 56')]]])
def test_classifiers_that_cannot_be_exported_are_refused(change, message):
    cfg = Config.fromfile(ROOT / 'tests/configs/imagenet_reswin_t.py')
    cfg.merge_from_dict(change)
    with pytest.raises(UsageError, match=message):
        exported_geometry(cfg)


@pytest.mark.parametrize('resize', [
    dict(type='mmpretrain.ResizeEdge', scale=60), dict(type='Resize', scale=(57, 80)),
    dict(type='ResizeByOrientation', scale=(90, 60)), dict(type='ResizeToCover', scale=(66, 49))])
@pytest.mark.parametrize('dtype, tolerance', [(np.uint8, 1), (np.float32, 1e-2)])
def test_resized_and_cropped_images_are_those_of_the_framework(resize, dtype, tolerance):
    """Steps may have a scope. ``auto_pad`` has no effect, because no resized image is smaller than the crop."""
    cfg = Config.fromfile(ROOT / 'tests/configs/imagenet_reswin_t.py')
    init_default_scope('mmpretrain')
    steps = [resize, dict(type='mmcv.CenterCrop', crop_size=(56, 48), auto_pad=True)]
    cfg.test_dataloader.dataset.pipeline = [
        dict(type='mmcv.LoadImageFromFile', to_float32=dtype is np.float32), *steps, dict(type='mmpretrain.PackInputs')]
    preprocess = take_apart(build_model(cfg), cfg).preprocess
    for height, width in (31, 90), (90, 31):
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        expected = Compose(steps)(dict(img=image.astype(dtype)))['img']
        mean, std = (getattr(preprocess, name).view(3) for name in ('mean', 'std'))
        actual = preprocess(torch.from_numpy(image)[None])[0].permute(1, 2, 0) * std + mean
        assert np.abs(actual.numpy() - expected).max() <= tolerance + 1e-3


def test_different_instances_exceed_the_limits():
    prediction = dict(labels=np.array([0, 1]), scores=np.array([.9, .8], 'f'),
                      boxes=np.array([[0, 0, 9, 9], [5, 5, 20, 30]], 'f'))
    assert not agreement_of(compare_outputs(prediction, prediction)).deviation
    for change in (dict(scores=prediction['scores'] - 0.01), dict(boxes=prediction['boxes'] + 2),
                   dict(labels=prediction['labels'][::-1])):
        assert agreement_of(compare_outputs(prediction, {**prediction, **change})).deviation


# Two stages of one block, with 8 and 16 channels, because the time for an export increases with the number of nodes.
ARCH = dict(embed_dims=8, depths=[1, 1], num_heads=[1, 2], mlp_ratio=1)
RESWIN = dict(type='ReSwin', out_indices=(0, 1), arch=dict(ARCH, window_size=7))
RESTV2 = dict(type='ResTv2', out_indices=(0, 1), arch=dict(ARCH, reductions=[2, 1]))
FREE_SIZE = {'test_dataloader.dataset.pipeline.1.keep_ratio': True}


def classifier() -> Config:
    cfg = Config.fromfile(ROOT / 'tests/configs/imagenet_reswin_t.py')
    cfg.model.backbone = dict(TINY_CONFIGS['ViTAE-plain'])
    cfg.model.backbone.arch['depth'] = 1
    cfg.model.head.in_channels = 32
    return cfg


def segmenter() -> Config:
    cfg = Config.fromfile(ROOT / 'tests/configs/upernet_reswin_t_camvid.py')
    cfg.model.update(backbone=RESWIN, auxiliary_head=None)
    cfg.model.decode_head.update(in_channels=[8, 16], in_index=[0, 1], channels=8)
    return cfg


def detector(kind: str) -> Config:
    """Returns the config of a detector with two pyramid levels; mask heads have group norm."""
    cfg = Config.fromfile(ROOT / 'tests/configs/mask_rcnn_reswin_t.py')
    neck, strides = dict(in_channels=[8, 16], out_channels=16, num_outs=2), [4, 8]
    if kind == 'RetinaNet':
        cfg.model = Config.fromfile(ROOT / 'configs/_base_/models/retinanet.py').model
        cfg.merge_from_dict(dict(model=dict(
            neck=dict(neck, start_level=0), bbox_head=dict(
                num_classes=4, in_channels=16, feat_channels=16, stacked_convs=1,
                anchor_generator=dict(strides=strides)))))
    else:
        extractor = dict(out_channels=16, featmap_strides=strides)
        cfg.merge_from_dict(dict(model=dict(
            type=kind, neck=neck,
            rpn_head=dict(in_channels=16, feat_channels=16, anchor_generator=dict(strides=strides)),
            roi_head=dict(bbox_roi_extractor=extractor, mask_roi_extractor=extractor,
                          bbox_head=dict(in_channels=16, fc_out_channels=32),
                          mask_head=dict(in_channels=16, conv_out_channels=16, num_convs=1)),
            test_cfg=dict(rpn=dict(nms_pre=50, max_per_img=20)))))
    if kind == 'CascadeRCNN':
        heads = [dict(cfg.model.roi_head.bbox_head, reg_class_agnostic=agnostic) for agnostic in (True, False)]
        cfg.model.roi_head.update(type='CascadeRoIHead', num_stages=2, stage_loss_weights=[1, 0.5], bbox_head=heads)
        cfg.model.train_cfg.rcnn = [cfg.model.train_cfg.rcnn] * 2
    cfg.model.backbone = RESTV2
    return cfg


def reference_of(cfg: Config, folder: Path) -> PyTorchModel:
    """Returns a model with random weights. A detector finds none, one and several instances in different images."""
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = build_model(cfg)
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    path = folder / 'model.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    if cfg.default_scope == 'mmdet':
        test = cfg.model.test_cfg.get('rcnn') or cfg.model.test_cfg
        test.score_thr = 0.
        test.score_thr = threshold_for_none_one_and_many([
            found['scores'] for found in PyTorchModel(cfg, str(path)).run(IMAGES)])
    save_run(cfg, model, path)
    return PyTorchModel(cfg, str(path))


def threshold_for_none_one_and_many(scores: list[np.ndarray]) -> float:
    """Returns a threshold, far from all scores, at which there are images with none, one and several instances."""
    ordered = np.sort(np.concatenate(scores))
    for threshold in ((ordered[1:] + ordered[:-1]) / 2)[np.argsort(-np.diff(ordered))]:
        if {0, 1} < {int((found > threshold).sum()) for found in scores}:
            return float(threshold)
    pytest.fail('no threshold gives images with none, one and several instances')


def export_and_compare(cfg: Config, reference: PyTorchModel, path: Path) -> None:
    parts = take_apart(reference.module, cfg)
    write_parts(parts, path, reference.details)
    outputs = PyTorchOutputs(reference, [*IMAGES, *SMALL_IMAGES], parts.preprocess)
    for runtime in installed_runtimes():
        assert not agreement_of(outputs.compare(path, runtime)).deviation, runtime


@pytest.mark.usefixtures('symbolic_shapes')
@pytest.mark.parametrize('make', [
    pytest.param(classifier, id='classification, plain', marks=pytest.mark.slow),
    pytest.param(segmenter, id='segmentation, pyramid', marks=pytest.mark.compiler),
    pytest.param(partial(detector, 'MaskRCNN'), id='detection', marks=pytest.mark.compiler)])
def test_onnx_returns_the_predictions_of_the_framework(make, tmp_path):
    cfg, path = make(), tmp_path / 'model.onnx'
    if cfg.default_scope == 'mmdet':
        cfg.merge_from_dict(FREE_SIZE)
    reference = reference_of(cfg, tmp_path)
    export_and_compare(cfg, reference, path)
    predictor = Predictor(path)
    assert predictor.classes == reference.details['classes']
    assert {node.domain for node in onnx.load(path).graph.node} == {''}, 'operators that are not standard ONNX'
    details = json.loads({entry.key: entry.value for entry in onnx.load(path).metadata_props}[DETAILS])
    assert {'version', 'palette'} <= details.keys()
    result, = predictor(PATHS[0])
    names = sorted(result.name(item['label']) for item in result.items())
    printed = run_on_page('predict_onnx', path, PATHS[0]).splitlines()
    assert all(line.startswith(name) for line, name in zip(sorted(printed), names, strict=True))
    run_on_page('quantize', path, IMAGE_FOLDER)
    assert TensorProto.INT8 in {tensor.data_type for tensor in onnx.load(tmp_path / 'int8.onnx').graph.initializer}
    assert len(Predictor(tmp_path / 'int8.onnx')(PATHS)) == len(PATHS)


def run_on_page(name: str, path: Path, images: Path) -> str:
    """Runs a program of docs/export.md beside an exported file, and returns what it prints."""
    page = (ROOT / 'docs/export.md').read_text(encoding='utf-8')
    program, = re.findall(rf'`{name}\.py.*?^```py\n(.+?)^```$', page, flags=re.MULTILINE | re.DOTALL)
    return subprocess.run([sys.executable, '-c', program, path, images], check=True, cwd=path.parent,
                          stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.compiler
@pytest.mark.usefixtures('symbolic_shapes')
@pytest.mark.parametrize('kind', ['RetinaNet', 'CascadeRCNN'])
def test_detectors_with_none_one_and_several_instances(kind, tmp_path):
    """With random weights, RetinaNet also predicts boxes outside the image, which must be dropped."""
    cfg, path = detector(kind), tmp_path / 'model.onnx'
    export_and_compare(cfg, reference_of(cfg, tmp_path), path)


class Proposals(nn.Module):
    """The RPN's postprocessing: from its maps to boxes."""

    def __init__(self, instances: TwoStageInstances) -> None:
        super().__init__()
        self.instances = instances

    def forward(self, image: torch.Tensor, *maps: torch.Tensor) -> torch.Tensor:
        size = self.instances.geometry.resized(image)
        return self.instances.propose(maps[:len(maps) // 2], maps[len(maps) // 2:], size)


@torch.no_grad()
@pytest.mark.filterwarnings('ignore:When align_corners=True')
def test_exported_parts_resize_maps_as_the_segmenter_does(tmp_path):
    cfg = segmenter()
    cfg.model.decode_head.align_corners = True
    reference = reference_of(cfg, tmp_path)
    parts, image = take_apart(reference.module, reference.cfg), torch.from_numpy(IMAGES[0])
    data = reference.module.data_preprocessor(reference.framework.collate([reference.prepare(IMAGES[0])]), False)
    actual = parts.postprocess(image[None], parts.network(data['inputs']))
    expected, = reference.run([IMAGES[0]])
    assert actual.shape[1:] > data['inputs'].shape[2:]
    assert (actual[0].numpy() == expected['segmentation']).mean() > 0.9999


@pytest.mark.usefixtures('symbolic_shapes')
def test_unlikely_boxes_are_in_the_order_of_their_scores(tmp_path):
    """Many scores of a trained RPN are below 1e-7, the error of Sigmoid in ONNX Runtime."""
    cfg, path = detector('MaskRCNN'), tmp_path / 'proposals.onnx'
    init_default_scope('mmdet')
    proposals = Proposals(take_apart(build_model(cfg), cfg).postprocess).eval()
    torch.manual_seed(0)
    sides = 16, 8
    scores, deltas = ([torch.randn(1, channels, side, side) for side in sides] for channels in (3, 12))
    inputs = torch.zeros(64, 64, 3, dtype=torch.uint8), *(score - 18 for score in scores), *deltas
    expected = proposals(*inputs).numpy()
    with ignore_deprecations():
        torch.onnx.export(proposals, inputs, path, dynamo=True, verbose=False)
    for runtime in installed_runtimes():
        session = open_session(path, runtime, 'cpu')
        names = [entry.name for entry in onnx.load(path).graph.input]
        actual, = session({name: value.numpy() for name, value in zip(names, inputs, strict=True)}).values()
        np.testing.assert_allclose(actual, expected, atol=1e-3, err_msg=runtime)


# ---- mmvit export


@pytest.mark.compiler
@pytest.mark.usefixtures('symbolic_shapes')
def test_a_refused_export_keeps_an_earlier_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reference_of(classifier(), tmp_path)
    Path('model.onnx').write_text('earlier', encoding='utf-8')
    monkeypatch.setitem(LIMITS, 'scores', -1.)  # which no file reaches
    with pytest.raises(UsageError, match=r'model\.onnx .* scores .*limit'):
        call('export', 'model.pth', 'model.onnx')
    assert {path.name for path in tmp_path.iterdir()} == {'model.pth', 'config.py', 'model.onnx'}
    assert Path('model.onnx').read_text(encoding='utf-8') == 'earlier'
    call('export', 'model.pth', 'model.onnx', '--allow-accuracy-drop')
    assert Path('model.onnx').stat().st_size > 1000


@pytest.mark.slow
def test_a_detector_that_finds_no_instance_is_not_exported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = detector('RetinaNet')
    reference_of(cfg, tmp_path)
    with pytest.raises(UsageError, match=r'no instances? in the 6 images'):
        call('export', 'model.pth', 'model.onnx', '--images', *PATHS, '--cfg-options', 'model.test_cfg.score_thr=1.')
    assert {path.name for path in tmp_path.iterdir()} == {'model.pth'}


@pytest.mark.slow
@torch.no_grad()
def test_boxes_without_masks_can_be_exported():
    """Without masks, boxes are scaled to the original image before non-maximum suppression, as in mmdet.

    As many as the config says are found; here, no box suppresses another.
    """
    cfg = detector('FasterRCNN')
    cfg.model.roi_head.update(mask_roi_extractor=None, mask_head=None)
    cfg.merge_from_dict(dict(FREE_SIZE, model=dict(test_cfg=dict(
        rpn=dict(nms_pre=100, max_per_img=100), rcnn=dict(score_thr=0., max_per_img=150, nms=dict(iou_threshold=1.))))))
    init_default_scope('mmdet')
    parts = take_apart(build_model(cfg).eval(), cfg)
    example = examples_of(parts)['postprocess']
    module, inputs, shapes = (example[name] for name in ('model', 'inputs', 'dynamic_shapes'))
    with ignore_deprecations():
        graph = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False).module()
    image = torch.from_numpy(IMAGES[0])
    others = image, *parts.network(parts.preprocess(image))
    for expected, actual in zip(module(*others), graph(*others), strict=True):
        torch.testing.assert_close(actual, expected)
        assert len(actual) == 150


@torch.no_grad()
def test_no_map_of_an_example_has_a_single_row_or_column():
    """torch.export would take its length as that of the maps of all images."""
    cfg = detector('RetinaNet')
    cfg.merge_from_dict(FREE_SIZE)
    cfg.merge_from_dict(dict(model=dict(
        neck=dict(num_outs=7), bbox_head=dict(anchor_generator=dict(strides=[4 * 2**level for level in range(7)])))))
    init_default_scope('mmdet')
    model = build_model(cfg).eval()
    _, *maps = examples_of(take_apart(model, cfg))['postprocess']['inputs']
    assert all(2 <= height != width for height, width in (value.shape[2:] for value in maps))
    model.backbone.image_size = 64, 96  # of the only size that a network takes, such as a ViT of timm
    images, = examples_of(take_apart(model, cfg))['network']['inputs']
    assert images.shape == (1, 3, 64, 96)
