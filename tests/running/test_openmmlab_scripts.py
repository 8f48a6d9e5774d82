"""The configs of runs, as the frameworks' scripts build them from their options."""
import re
from inspect import signature

import pytest
import torch
from helpers import ROOT, raises
from mmengine.registry import METRICS, MODELS
from runs import TINY

from mmvit import running as training
from mmvit.configs.files import read_config
from mmvit.configs.outputs import OUTPUTS, check_test_outputs
from mmvit.frameworks.building import use_framework
from mmvit.running import shorthand_options, training_config
from mmvit_backbones.errors import UsageError

MASKS, STREETS = (str(ROOT / f'tests/configs/{name}.py') for name in ('mask_rcnn_reswin_t', 'upernet_reswin_t_camvid'))


def with_short_options(config: str, **options):
    return training_config(config, cfg_options=shorthand_options(read_config(config), **options))


def test_short_options_stand_for_config_options():
    cfg = training_config(str(TINY), seed=5, precision='bfloat16')
    assert cfg.randomness.seed == 5
    assert (cfg.optim_wrapper.type, cfg.optim_wrapper.dtype) == ('AmpOptimWrapper', 'bfloat16')
    assert training_config(str(TINY), precision='float16').optim_wrapper.type == 'AmpOptimWrapper'


def test_boxes_are_pooled_in_bfloat16():
    """mmcv's RoIAlign has no kernels for it."""
    extractor = training_config('mask_rcnn_reswin_t', precision='bfloat16').model.roi_head.mask_roi_extractor
    use_framework('mmdet')
    maps = [torch.rand(1, 256, side, side).bfloat16() for side in (16, 8, 4, 2)]
    with torch.autocast('cpu', torch.bfloat16):
        assert MODELS.build(extractor)(maps, torch.tensor([[0., 1., 2., 30., 40.]])).shape == (1, 256, 14, 14)


@pytest.mark.parametrize('name', ['imagenet_reswin_t', 'mask_rcnn_reswin_t', 'upernet_reswin_t'])
def test_data_root_is_replaced(name):
    cfg = with_short_options(name, data_root='/mnt/here')
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == '/mnt/here/'
    if 'ann_file' in cfg.val_evaluator:
        assert cfg.val_evaluator.ann_file == '/mnt/here/annotations/instances_val2017.json'


@pytest.mark.parametrize('config', [str(TINY), MASKS, STREETS])
def test_windows_are_opened_only_on_request(config):
    for options, shows in ((dict(show=True), True), (dict(show_dir='drawn'), False)):
        cfg = training.testing_config(config, 'a.pth', **options)
        assert cfg.default_hooks.visualization.get('show', False) is shows and cfg.load_from == 'a.pth'


def test_a_test_begins_no_run_of_a_tracker(tmp_path):
    """The programs of a training may not be installed where it is tested; options of the test may name them."""
    with_short_options(str(TINY), tensorboard=True, wandb=True).dump(tmp_path / 'run.py')
    names = [[backend.type for backend in training.testing_config(
        str(tmp_path / 'run.py'), 'a.pth', cfg_options=options).visualizer.vis_backends]
        for options in ({}, {'visualizer.vis_backends.1.type': 'WandbVisBackend'})]
    assert names == [['LocalVisBackend'], ['LocalVisBackend', 'WandbVisBackend', 'WandbVisBackend']]


def test_options_that_a_config_cannot_follow():
    with raises(UsageError, 'tta', 'masks', 'tta_model'):
        training.testing_config(MASKS, 'a.pth', tta=True)
    with raises(UsageError, 'out', '.pkl', 'out.json'):
        training.testing_config(MASKS, 'a.pth', out='out.json')
    with raises(UsageError, 'tta', '--show-dir'):
        training.testing_config(str(TINY), 'a.pth', tta=True, show_dir='drawn')


def test_test_time_augmentation_replaces_the_pipeline_of_the_test():
    cfg = training.testing_config(STREETS, 'a.pth', tta=True)
    assert cfg.model.type == 'SegTTAModel' and cfg.model.module.type == 'EncoderDecoder'
    assert cfg.test_dataloader.dataset.pipeline == cfg.tta_pipeline


def test_a_run_writes_over_nothing_that_it_reads(tmp_path, monkeypatch):
    """The copy of a config, predictions, label images, and drawings."""
    monkeypatch.chdir(ROOT)
    own = tmp_path / 'own.py'
    own.write_text(f'_base_ = {str(TINY)!r}', encoding='utf-8')
    with raises(UsageError, 'work_dir', own, 'is read'):
        training.train(training_config(str(own), work_dir=str(tmp_path)))
    images, masks = ROOT / 'data/coco_mini/val', ROOT / 'data/camvid_mini/masks/val'
    (tmp_path / 'a.pkl').symlink_to(own)
    for config, argument, place in [
            (str(own), 'out', tmp_path / 'a.pkl'), (MASKS, 'show_dir', images), (STREETS, 'out', masks),
            (STREETS, 'show_dir', masks / 'new')]:
        cfg = training.testing_config(config, 'a.pth', show_dir=str(place) if argument == 'show_dir' else None,
                                      out=str(place) if argument == 'out' else None)
        with raises(UsageError, argument, place.parent if place.name == 'new' else place):
            check_test_outputs(cfg)
    cfg = training.testing_config(STREETS, 'a.pth')
    for output in OUTPUTS:
        cfg.test_evaluator = dict(type='IoUMetric', **{output: str(masks / 'new')})
        with raises(UsageError, 'out', masks):
            check_test_outputs(cfg)


def test_outputs_of_all_metrics_are_known():
    """An argument of a metric that names files is one that is written, or one of these, which are read or no files."""
    read = {'ann_file', 'label_file', 'seg_prefix', 'img_prefix', 'prefix', 'proposals_file', 'collect_dir',
            'file_client_args', 'dump_matches'}
    for framework in 'mmdet', 'mmseg', 'mmpretrain':
        use_framework(framework)
    metrics = [metric for registry in (METRICS, *METRICS.children.values()) for metric in registry.module_dict.values()]
    named = {name for metric in metrics for kind in metric.__mro__ for name in signature(kind.__init__).parameters
             if re.search('out|save|dump|dir|path|file|prefix', name)}
    assert OUTPUTS[0] in named and named - read <= {*OUTPUTS}


@pytest.mark.parametrize('workers', [0, 2])
def test_workers_persist_only_where_there_are_some(workers, tmp_path):
    """As mmpretrain's script lets them; PyTorch refuses it without workers."""
    loader = "dict(_delete_=True, batch_size=4, dataset=dict(type='CustomDataset'))"
    (tmp_path / 'own.py').write_text(f'_base_ = {str(TINY)!r}\ntrain_dataloader = {loader}', encoding='utf-8')
    cfg = training_config(str(tmp_path / 'own.py'), cfg_options={'train_dataloader.num_workers': workers})
    assert bool(cfg.train_dataloader.get('persistent_workers')) == (workers > 0)
