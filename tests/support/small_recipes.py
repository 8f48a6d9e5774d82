"""Builds small versions of the recipes, with tiny networks and small images, for the data sets in `data/`."""
import json
from dataclasses import asdict

from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS

from mmvit.configs.files import read_config
from mmvit.utils.config_parts import datasets_of, metrics_of

DATA = ROOT / 'data'
STREETS = tuple((DATA / 'camvid_mini/classes.txt').read_text().split())
SIZES = 'scale', 'scales', 'crop_size', 'size', 'stride', 'max_size'
SMALLEST = 64  # pixels; smaller numbers are not image sizes


def small_recipe(name: str) -> Config:
    """Returns a recipe whose training step and evaluation take a second on a CPU."""
    config = read_config(str(ROOT / f'configs/{name}.py'))
    use_small_data(config)
    config.model = shrunk_model(config)
    find_something(config.model.get('test_cfg') or {})
    by = 3.5 if config.default_scope == 'mmpretrain' else 8
    for part in (config.model, config.train_dataloader, config.test_dataloader, config.get('tta_pipeline') or ()):
        divide_sizes(part, by)
    for loader, images in ((config.train_dataloader, 2), (config.test_dataloader, 1)):
        loader.update(batch_size=images, num_workers=0, persistent_workers=False)
    config.test_dataloader.dataset.indices = 2
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    config.default_hooks.pop('visualization', None)  # mmseg's hook warns if drawing is disabled
    use_float32(config)
    return Config(config.to_dict(), format_python_code=False)  # formatting takes a second; a runner does it four times


def use_small_data(config: Config) -> None:
    """Replaces the data sets for training and testing by those in `data/`, whose labels the heads know."""
    for split, folder in (('train', 'train'), ('test', 'val')):
        for dataset in datasets_of(config, split):
            if config.default_scope == 'mmdet':
                dataset.update(data_root=f'{DATA}/coco_mini/', ann_file=f'annotations/instances_{folder}.json',
                               data_prefix=dict(img=f'{folder}/'))
                continue
            labels, pipeline = dataset.type == 'ADE20KDataset', dataset.pipeline
            dataset.clear()
            dataset.update(
                dict(type='CustomDataset', data_root=f'{DATA}/flowers_mini', data_prefix=folder)
                if config.default_scope == 'mmpretrain' else
                dict(type='BaseSegDataset', data_root=f'{DATA}/camvid_mini', reduce_zero_label=labels,
                     metainfo=dict(classes=STREETS, palette=[[10 * i] * 3 for i in range(len(STREETS))]),
                     data_prefix=dict(img_path=f'images/{folder}', seg_map_path=f'masks/{folder}')),
                pipeline=pipeline)
    for metric in metrics_of(config, 'test'):
        if metric.get('ann_file'):
            metric['ann_file'] = f'{DATA}/coco_mini/annotations/instances_val.json'


def use_float32(config: Config) -> None:
    """Removes mixed precision, which needs a GPU."""
    if config.optim_wrapper.type == 'AmpOptimWrapper':
        config.optim_wrapper.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype'):
            config.optim_wrapper.pop(key, None)


def find_something(test_cfg: dict) -> None:
    """Makes a detector return a few objects of any score, because all scores are low after a single step."""
    if 'rpn' in test_cfg:
        test_cfg['rpn']['max_per_img'] = 20
    last = test_cfg.get('rcnn', test_cfg)
    if 'score_thr' in last:
        last.update(score_thr=0., max_per_img=10)


def divide_sizes(node, by: float) -> None:
    """Divides all image sizes in nested dicts and lists."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if key in SIZES:
            node[key] = divided(value, by)
        elif isinstance(value, (dict, list, tuple)):
            divide_sizes(value, by)


def divided(value, by: float):
    if isinstance(value, (list, tuple)):
        return type(value)(divided(entry, by) for entry in value)
    return round(value / by) if isinstance(value, int) and value >= SMALLEST else value


def shrunk_model(config: Config) -> dict:
    """Returns the model with a tiny backbone, narrow heads and few proposals."""
    model = json.loads(json.dumps(dict(config.model.to_dict(), _scope_=config.default_scope)))
    backbone, head = model['backbone'], model.get('decode_head', model.get('head', {}))
    zoo = asdict(MODELS.get(backbone['type']).arch_zoo[backbone['arch']])
    tiny = 'ViTAE-plain' if zoo.get('pyramid_dims') == () else backbone['type']
    kept = {key: zoo[key] for key in ('attention', 'wide_conv') if key in zoo}
    backbone.update(arch={**TINY_CONFIGS[tiny]['arch'], **kept}, init_cfg=None, drop_path_rate=0.)
    if 'img_size' in TINY_CONFIGS[tiny]:
        backbone['img_size'] = 64
    built = MODELS.build(backbone)
    channels = [built.channels[i] for i in built.out_indices]
    if backbone['type'] == 'RefinerViT' and 'decode_head' in model:
        model['neck']['embed_dim'] = channels[0]
    elif isinstance(model.get('neck'), dict) and 'in_channels' in model['neck']:
        model['neck']['in_channels'] = channels if isinstance(model['neck']['in_channels'], list) else channels[-1]
    if config.default_scope == 'mmpretrain':
        head['in_channels'] = channels[-1]
        if 'map_loss' in head:
            head['map_loss']['num_pairs'] = 2
    elif head.get('type') == 'Mask2FormerHead':
        head['in_channels'], head['train_cfg']['num_points'] = channels, 64
        head['pixel_decoder']['encoder']['num_layers'] = head['transformer_decoder']['num_layers'] = 1
    elif config.default_scope == 'mmseg':
        heads = [head] + [model['auxiliary_head']] * bool(model.get('auxiliary_head'))
        for part in heads:
            part['channels'] = 8
            if model.get('neck', {}).get('type') not in ('FPN', 'SimpleFeaturePyramid'):
                wide = part['in_channels']
                part['in_channels'] = channels[:len(wide)] if isinstance(wide, list) else channels[part['in_index']]
    elif 'panoptic_head' in model:
        head = model['panoptic_head']
        head['in_channels'], model['train_cfg']['num_points'] = channels, 64
        head['pixel_decoder']['encoder']['num_layers'] = head['transformer_decoder']['num_layers'] = 1
    elif model['type'] == 'DINO':
        model['num_queries'] = model['dn_cfg']['group_cfg']['num_dn_queries'] = 10
        model['encoder']['num_layers'], model['decoder']['num_layers'] = 1, 2
    elif 'roi_head' in model:
        for box_head in as_list(model['roi_head']['bbox_head']):  # a list in Cascade R-CNN
            box_head.update(fc_out_channels=16, conv_out_channels=32)  # group norms have 32 groups
        for mask_head in as_list(model['roi_head'].get('mask_head') or []):
            mask_head['conv_out_channels'] = 32
        model['train_cfg']['rpn_proposal']['max_per_img'] = 20
        for stage in as_list(model['train_cfg']['rcnn']):
            stage['sampler']['num'] = 16
    return model


def as_list(value) -> list:
    return value if isinstance(value, list) else [value]
