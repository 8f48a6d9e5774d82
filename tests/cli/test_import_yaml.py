"""`mmvit config import` converts option files of ReViT's authors."""
import re

import pytest
import yaml
from helpers import ROOT

from mmvit_backbones.utils.config import load_config

# Options in the authors' file for ReSwin-T.
RESWIN = yaml.safe_load("""
TRAIN: {enable: false, dataset: imagenet, batch_size: 256, eval_period: 5, auto_resume: true, checkpoint_path: PATH,
        mixed_precision: true}
AUG: {num_samples: 1, color_jitter: 0.4, AA_TYPE: rand-m9-n6-mstd0.5-inc1, interpolation: bicubic, re_prob: 0.1,
      re_mode: pixel, re_count: 1, re_split: false}
MIXUP: {enable: true, mixup_alpha: 0.8, cutmix_alpha: 0.0, mixup_prob: 0.99, switch_prob: 0.5, labels_smooth_value: 0.1}
TEST: {enable: false, dataset: imagenet, batch_size: 64, checkpoint_file: PATH}
MODEL: {name: ReSwin, num_classes: 1000, loss_func: soft_cross_entropy, loss_func_val: cross_entropy, dropout_rate: 0.2,
        head_act: softmax, act_checkpoint: false}
ReSwin: {patch_size: 4, in_chans: 3, embed_dim: 96, depths: [2, 2, 6, 2], num_heads: [3, 6, 12, 24], windw_size: 7,
         mlp_ratio: 4, qkv_bias: true, qk_scale: [], ape: false, patch_norm: true, drop_rate: 0.0, attn_drop_rate: 0.0,
         drop_path: 0.1}
DATA: {path: PATH, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], crop_size: 224, VAL_CROP_RATIO: 0.91}
SOLVER: {base_lr: 0.00025, lr_policy: cosine, cosine_end_lr: 1e-05, lrs: [], step_size: 1, steps: 300, max_epochs: 300,
         momentum: 0.9, dampening: 0.0, nesterov: false, weight_decay: 0.05, warmup_factor: 0.1, warmup_epochs: 20,
         warmup_start_lr: 1e-05, optimizing_method: adamw, cosine_after_warmup: true, zero_wd_1D_param: true,
         clip_grad_val: false, clip_grad_l2norm: false, layer_wise_decay: 1.0, load: true, start_epoch: 0,
         summary: false, fine_tune: false, dist: true, load_path: PATH, checkpoint_path: PATH, save: false,
         accumulate: true, accumulate_steps: 4}
DEVICE: {num_gpu: 2, num_shards: 1, shard_id: 0, output_dir: PATH, rng_seed: 0, log_period: 1, log_model_info: false,
         dist_backend: nccl}
DATALOADER: {num_worker: 8, pin_memory: true}
""")


def changed(section: str, **values) -> dict:
    return RESWIN | {section: RESWIN[section] | values}


@pytest.fixture
def convert(run, tmp_path):
    def convert(content: object) -> dict:
        (tmp_path / 'theirs.yaml').write_text(yaml.safe_dump(content))
        own = f'{tmp_path}/own.py'
        run('config import', f'{tmp_path}/theirs.yaml', f'{ROOT}/configs/imagenet_reswin_t.py', '--out', own)
        return load_config(own)
    return convert


def test_published_recipe_equals_our_config(convert):
    """The recipe is for two GPUs, i.e. 512 images per step."""
    ours, own = load_config(str(ROOT / 'configs/imagenet_reswin_t.py')), convert(RESWIN)
    for part in ('param_scheduler', 'train_cfg', 'auto_scale_lr', 'test_dataloader'):
        assert own[part] == ours[part], part
    assert own.optim_wrapper.optimizer == ours.optim_wrapper.optimizer
    assert own.optim_wrapper.accumulative_counts == 4 and own.optim_wrapper.clip_grad is None
    assert own.train_dataloader.dataset == ours.train_dataloader.dataset
    assert [dict(each) for each in own.model.train_cfg.augments] == [dict(type='Mixup', alpha=0.8)]
    assert own.model.train_cfg.probs == [0.99]


def test_changed_options_change_the_config(convert):
    own = convert(changed('SOLVER', base_lr='5e-4', max_epochs=100, clip_grad_l2norm=1.0))
    assert own.optim_wrapper.optimizer.lr == 2e-3 and own.optim_wrapper.clip_grad == dict(max_norm=1.)
    assert own.train_cfg.max_epochs == own.param_scheduler[1]['end'] == 100
    own = convert(changed('MIXUP', cutmix_alpha=1.0, mixup_prob=1.0, switch_prob=0.25))
    assert own.model.train_cfg.probs == [0.75, 0.25]
    own = convert(changed('ReSwin', drop_path=0.3))
    assert own.model.backbone.drop_path_rate == 0.3


def test_changed_augmentations_change_the_pipelines(convert):
    own = convert(changed('AUG', re_prob=0.25, AA_TYPE='rand-m7-n3-mstd0.25-inc1'))
    steps = {step['type']: step for step in own.train_dataloader.dataset.pipeline}
    assert steps['RandomErasing'].erase_prob == 0.25
    policy = steps['RandAugment']
    assert (policy.magnitude_level, policy.num_policies, policy.magnitude_std) == (7, 3, 0.25)
    own = convert(changed('DATA', VAL_CROP_RATIO=0.5))
    for loader in own.val_dataloader, own.test_dataloader:
        assert [step.scale for step in loader.dataset.pipeline if step['type'] == 'ResizeEdge'] == [448]


@pytest.mark.parametrize('content, message', [
    ([1], 'must be a YAML file with options in sections'),
    (changed('SOLVER', base_lr='fast'), "SOLVER.base_lr must be of type .*, got 'fast'"),
    (changed('SOLVER', base_lr='1.2.3'), "SOLVER.base_lr must be of type .*, got '1.2.3'"),
    (changed('SOLVER', base_lr=0), 'SOLVER.base_lr must be from 1e-12 to 1000, got 0'),
    (changed('SOLVER', optimizing_method='sgd'), "SOLVER.optimizing_method must be adam or adamw, got 'sgd'"),
    (changed('DATA', VAL_CROP_RATIO=0), 'DATA.VAL_CROP_RATIO must be from 0.01 to 1, got 0'),
    (changed('DEVICE', num_gpu=0), 'DEVICE.num_gpu must be from 1 to 1000000, got 0'),
    (changed('AUG', AA_TYPE='rand-m9-n6-mstd.-inc1'), 'AUG.AA_TYPE must be rand-mM-nN-mstdS-inc1'),
    (changed('SOLVER', lr_policy='steps'), "SOLVER.lr_policy must be 'cosine', got 'steps'"),
    (changed('ReSwin', embed_dim=64), 'ReSwin.embed_dim must be 96, got 64'),
    (changed('SOLVER', BASE_LR=1), 'unknown options: SOLVER.BASE_LR=1')])
def test_mistakes_are_errors(convert, capsys, content, message):
    with pytest.raises(SystemExit):
        convert(content)
    error, = capsys.readouterr().err.splitlines()
    assert re.search(message, error)
