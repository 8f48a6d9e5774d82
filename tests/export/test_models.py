"""Exported files agree with the framework, for each task and kind of network."""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from tiny_configs import TINY_CONFIGS
from torch.utils.cpp_extension import include_paths, library_paths

from mmvit_backbones.errors import UsageError
from mmvit_backbones.export import export_model
from mmvit_backbones.export.compare import EXACT, below_limits, compare, worst
from mmvit_backbones.export.graphs import examples_of, ignore_deprecations, save, to_onnx
from mmvit_backbones.export.parts import check_exportable, split
from mmvit_backbones.inference import Predictor
from mmvit_backbones.inference.runtimes import DETAILS, Checkpoint, build_model, session_of
from mmvit_backbones.ops.library import FOLDER, library_name

IMAGES = [np.array(Image.open(path).convert('RGB')) for path in sorted(ROOT.glob('data/coco_mini/val/*.jpg'))[:2]]
OPERATORS = FOLDER / library_name('cpp', torch.__version__)


def shrunk(name: str, network: str) -> Config:
    """Returns a demonstration's config with a tiny network and small images."""
    cfg = Config.fromfile(ROOT / f'configs/demo/{name}.py')
    cfg.model.backbone = {'type': network, **TINY_CONFIGS[network]}
    return cfg


@pytest.mark.parametrize('change, message', [
    (dict(model=dict(type='DINO')), "DINO cannot be exported: mmcv's deformable attention"),
    (dict(model=dict(type='FCOS')), 'FCOS cannot be exported; of mmdet, allowed are RetinaNet'),
    (dict(model=dict(test_cfg=dict(rcnn=dict(nms=dict(type='soft_nms'))))), 'soft_nms has no graph'),
    (dict(test_dataloader=dict(dataset=dict(pipeline=[dict(type='RandomFlip')]))), 'step RandomFlip'),
])
def test_what_has_no_graph_is_refused(change, message):
    cfg = Config.fromfile(ROOT / 'configs/demo/mask_rcnn_reswin_t.py')
    cfg.merge_from_dict(change)
    with pytest.raises(UsageError, match=message):
        check_exportable(cfg)


@pytest.mark.parametrize('name, file_format, message', [
    ('mask_rcnn_reswin_t', 'pt2', 'must have Resize with keep_ratio=False'),
    ('upernet_refiner_vit_s', 'pt2', 'Feature2Pyramid is exported in format pt2 for one size'),
    ('upernet_remvitv2_t', 'pt2', 'ReMViTv2 is exported in format pt2 for one size'),
    ('upernet_reswin_t', 'aoti', 'must have Resize with keep_ratio=False'),
])
def test_what_only_onnx_serves_is_refused(name, file_format, message):
    cfg = Config.fromfile(ROOT / f'configs/demo/{name}.py')
    cfg.merge_from_dict({'test_dataloader.dataset.pipeline.1.keep_ratio': True})
    check_exportable(cfg)
    with pytest.raises(UsageError, match=message):
        check_exportable(cfg, file_format)
    cfg.merge_from_dict(ONE_SIZE)
    check_exportable(cfg, file_format)  # at one size


def test_comparison_sees_other_boxes():
    prediction = dict(labels=np.array([0, 1]), scores=np.array([.9, .8], 'f'),
                      boxes=np.array([[0, 0, 9, 9], [5, 5, 20, 30]], 'f'))
    assert not below_limits(compare(prediction, prediction), EXACT)
    for change in (dict(scores=prediction['scores'] - 0.01), dict(boxes=prediction['boxes'] + 2),
                   dict(labels=prediction['labels'][::-1])):
        assert below_limits(compare(prediction, {**prediction, **change}), EXACT)


# By task and kind of network: a demonstration's config, a tiny network, and changes of the model around it.
NECK = dict(in_channels=[16, 32, 64, 128], out_channels=32)
TWO_STAGE = dict(
    neck=NECK, rpn_head=dict(in_channels=32, feat_channels=32),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32), mask_roi_extractor=dict(out_channels=32),
        bbox_head=dict(in_channels=32, fc_out_channels=64), mask_head=dict(in_channels=32, conv_out_channels=32)))
CASES = {
    'classification, plain': ('imagenet_vitae_t', 'ViTAE, plain', dict(head=dict(in_channels=32))),
    'segmentation, pyramid': ('upernet_reswin_t', 'ReSwin', dict(
        decode_head=dict(in_channels=[16, 32, 64, 128], channels=16), auxiliary_head=dict(in_channels=64))),
    'detection, varied-size windows': ('mask_rcnn_swin_vsa_t', 'SwinVSA', TWO_STAGE),
}


ONE_SIZE = {'test_dataloader.dataset.pipeline.1.keep_ratio': False}
# So that it compiles in less than a minute.
TWO_STAGES = dict(
    backbone=dict(arch=dict(embed_dims=16, depths=[1, 1], num_heads=[1, 2], window_size=7, mlp_ratio=2),
                  out_indices=(0, 1)),
    decode_head=dict(_delete_=True, type='FCNHead', in_channels=32, in_index=1, channels=16, num_convs=1, num_classes=5,
                     concat_input=False),
    auxiliary_head=None)


def agree(reference: Checkpoint, path: Path) -> bool:
    """Whether an exported file finds the same in each of the images."""
    outputs = Predictor(path, trust_code=True).model.run(IMAGES)
    return not below_limits(worst([compare(*pair) for pair in zip(reference.run(IMAGES), outputs, strict=True)]), EXACT)


def model_of(name: str, network: str, model: dict, folder: Path, **changes) -> tuple[Config, Checkpoint]:
    """A small model with weights."""
    cfg = shrunk(name, network)
    cfg.merge_from_dict({'model': model, **changes})
    return cfg, reference_of(cfg, folder)


def reference_of(cfg: Config, folder: Path) -> Checkpoint:
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = build_model(cfg)
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    path = folder / 'model.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return Checkpoint(cfg, str(path))


@pytest.mark.slow
@pytest.mark.usefixtures('symbolic_shapes')
@pytest.mark.parametrize('case', CASES)
def test_onnx_predicts_what_the_framework_does(case, tmp_path):
    cfg, reference = model_of(*CASES[case], tmp_path)
    path = tmp_path / 'model.onnx'
    export_model(split(reference.module, cfg), path, 'onnx', dict(reference.details, license='MIT'), IMAGES[0])
    assert Predictor(path).classes == reference.details['classes']
    assert agree(reference, path)
    assert {node.domain for node in onnx.load(path).graph.node} == {''}, 'operators outside of the standard'
    details = json.loads(Path(f'{path}.json').read_text())
    assert json.loads({entry.key: entry.value for entry in onnx.load(path).metadata_props}[DETAILS]) == details
    assert {'preprocessing', 'thresholds', 'version', 'license', 'input', 'outputs', 'palette'} <= details.keys()
    image = sorted(ROOT.glob('data/coco_mini/val/*.jpg'))[0]
    printed = subprocess.run([sys.executable, ROOT / 'docs/predict_onnx.py', path, image], check=True,
                             capture_output=True, text=True).stdout.splitlines()
    result, = Predictor(path)(image)
    names = sorted(result.name(item['label']) for item in result.items())
    assert all(line.startswith(name) for line, name in zip(sorted(printed), names, strict=True))


def cascade() -> Config:
    cfg = shrunk('mask_rcnn_reswin_t', 'ReSwin')
    cfg.merge_from_dict(dict(model=dict(TWO_STAGE, type='CascadeRCNN')))
    heads = [dict(cfg.model.roi_head.bbox_head, reg_class_agnostic=agnostic) for agnostic in (True, False, True)]
    cfg.model.roi_head.update(type='CascadeRoIHead', num_stages=3, stage_loss_weights=[1, 0.5, 0.25], bbox_head=heads)
    cfg.model.train_cfg.rcnn = [cfg.model.train_cfg.rcnn] * 3
    return cfg


def threshold_for_none_one_and_many(scores: list[np.ndarray]) -> float:
    """Returns the threshold farthest from all scores at which images have no instance, one and more."""
    ordered = np.sort(np.concatenate(scores))
    gaps = np.diff(ordered)
    for threshold in ((ordered[1:] + ordered[:-1]) / 2)[np.argsort(-gaps)]:
        if {0, 1} < {int((found > threshold).sum()) for found in scores}:
            return float(threshold)
    pytest.fail('no threshold')


def retinanet() -> Config:
    cfg = Config.fromfile(ROOT / 'configs/demo/mask_rcnn_swin_vsa_t.py')
    base = Config.fromfile(ROOT / 'configs/_base_/models/retinanet.py')
    cfg.model = dict(base.model, backbone=dict(cfg.model.backbone, **TWO_STAGES['backbone']))
    cfg.merge_from_dict({**ONE_SIZE, 'model': dict(
        neck=dict(in_channels=[16, 32], out_channels=16, start_level=0, num_outs=3),
        bbox_head=dict(num_classes=4, in_channels=16, feat_channels=16, stacked_convs=1,
                       anchor_generator=dict(strides=[4, 8, 16])))})
    return cfg


@pytest.mark.slow
@pytest.mark.usefixtures('symbolic_shapes')
def test_retinanet_without_instance_with_one_and_with_many(tmp_path):
    """Many of the boxes that random weights predict are outside of the image, and dropped."""
    cfg = retinanet()
    images = [np.array(Image.open(path).convert('RGB')) for path in sorted(ROOT.glob('data/coco_mini/val/*.jpg'))[:6]]
    cfg.model.test_cfg.score_thr = 0.
    scores = [found['scores'] for found in reference_of(cfg, tmp_path).run(images)]
    cfg.model.test_cfg.score_thr = threshold_for_none_one_and_many(scores)
    reference = Checkpoint(cfg, str(tmp_path / 'model.pth'))
    expected = reference.run(images)
    for file_format in ('onnx', 'pt2'):
        path = tmp_path / f'model.{file_format}'
        export_model(split(reference.module, cfg), path, file_format, reference.details, images[0])
        figures = [compare(*pair) for pair in zip(expected, Predictor(path).model.run(images), strict=True)]
        assert not below_limits(worst(figures), EXACT), file_format


@pytest.mark.slow
@pytest.mark.usefixtures('symbolic_shapes')
def test_cascades_postprocessing_is_the_frameworks(tmp_path):
    """The graph alone, to save time, on images with no instance, one and many."""
    cfg = cascade()
    images = [np.array(Image.open(path).convert('RGB')) for path in sorted(ROOT.glob('data/coco_mini/val/*.jpg'))[:6]]
    cfg.model.test_cfg.rcnn.score_thr = 0.
    reference = reference_of(cfg, tmp_path)
    scores = [found['scores'] for found in reference.run(images)]
    cfg.model.test_cfg.rcnn.score_thr = threshold_for_none_one_and_many(scores)
    reference = Checkpoint(cfg, str(tmp_path / 'model.pth'))
    parts = split(reference.module, cfg)
    with torch.no_grad():
        examples = [examples_of(parts, torch.from_numpy(image))['postprocess'] for image in images]
        save(to_onnx(*examples[0]), tmp_path / 'postprocess.onnx')
    session = session_of(tmp_path / 'postprocess.onnx')
    for (_, inputs, *_), expected in zip(examples, reference.run(images)):
        inputs = [value.numpy() for value in inputs]
        actual = session.run(None, dict(zip([value.name for value in session.get_inputs()], inputs)))
        assert not below_limits(compare(expected, dict(zip(parts.outputs, actual, strict=True))), EXACT)


@pytest.mark.slow
@pytest.mark.usefixtures('symbolic_shapes')
@pytest.mark.parametrize('suffix', ['.onnx', '.pt2'])
def test_no_instance_and_one(suffix, tmp_path):
    """The mask head has group norm, which has no graph for empty batches. The file is loaded in a new process."""
    cfg, reference = model_of('mask_rcnn_swin_vsa_t', 'SwinVSA', TWO_STAGE, tmp_path, **ONE_SIZE)
    scores = [np.sort(found['scores'])[::-1] for found in reference.run(IMAGES)]
    cfg.model.test_cfg.rcnn.score_thr = float(np.sort(np.concatenate(scores))[-2:].mean())
    reference = Checkpoint(cfg, str(tmp_path / 'model.pth'))
    expected, path = reference.run(IMAGES), tmp_path / f'model{suffix}'
    assert sorted(len(found['labels']) for found in expected) == [0, 1]
    export_model(split(reference.module, cfg), path, suffix[1:], reference.details, IMAGES[0])
    code = f"""
import numpy as np
from mmvit_backbones.inference import Predictor
images = np.load({str(tmp_path / 'images.npz')!r})
for number, found in enumerate(Predictor({str(path)!r}).model.run(list(images.values()))):
    np.savez({str(tmp_path)!r} + f'/{{number}}.npz', **found)
"""
    np.savez(tmp_path / 'images.npz', *IMAGES)
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)
    for number, found in enumerate(expected):
        assert not below_limits(compare(found, dict(np.load(tmp_path / f'{number}.npz'))), EXACT)


@pytest.mark.slow
@torch.no_grad()
def test_boxes_without_masks_have_one_graph():
    """Faster R-CNN's, which are scaled to the image before non-maximum suppression, for images of all sizes."""
    cfg = shrunk('mask_rcnn_reswin_t', 'ReSwin')
    cfg.merge_from_dict(dict(model=TWO_STAGE))
    cfg.model.roi_head.update(mask_roi_extractor=None, mask_head=None)
    init_default_scope('mmdet')
    parts = split(build_model(cfg).eval(), cfg)
    (module, inputs, shapes, *_), (_, others, *_) = (
        examples_of(parts, torch.from_numpy(image))['postprocess'] for image in IMAGES)
    with ignore_deprecations():
        graph = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False).module()
    for expected, actual in zip(module(*others), graph(*others), strict=True):
        torch.testing.assert_close(actual, expected)


def build_example(folder: Path) -> Path:
    """docs/cpp/predict.cpp, compiled as its page says."""
    program = folder / 'predict'
    subprocess.run([
        'g++', '-std=c++17', ROOT / 'docs/cpp/predict.cpp', '-o', program,
        *(f'-isystem{path}' for path in include_paths()),
        *(flag for path in library_paths() for flag in (f'-L{path}', f'-Wl,-rpath,{path}')),
        '-ltorch', '-ltorch_cpu', '-lc10', '-ldl'], check=True)
    return program


@pytest.mark.slow
def test_compiled_file_predicts_in_python_and_cpp(tmp_path):
    """A segmenter on varied-size windows, which run in the fused operator."""
    cfg, reference = model_of('upernet_swin_vsa_t', 'SwinVSA', TWO_STAGES, tmp_path, **ONE_SIZE)
    check_exportable(cfg, 'aoti')
    path, image_path = tmp_path / 'model.pt2', tmp_path / 'image.ppm'
    export_model(split(reference.module, cfg), path, 'aoti', reference.details, IMAGES[0])
    assert agree(reference, path)
    program = build_example(tmp_path)
    for image, expected in zip(IMAGES, reference.run(IMAGES)):
        assert len(np.unique(expected['segmentation'])) > 1
        Image.fromarray(image).save(image_path)
        shape, values = subprocess.run([program, path, image_path, OPERATORS], check=True, capture_output=True,
                                       text=True).stdout.split('] ')
        assert shape == '[1, {}, {}'.format(*image.shape)
        segmentation = np.array(values.split(), float).reshape(image.shape[:2])
        assert not below_limits(compare(expected, dict(segmentation=segmentation)), EXACT)
