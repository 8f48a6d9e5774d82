"""Turn the authors' YAML file of a ReViT or Refiner-ViT training into changes to one of our configs.

    python tools/dev/import_yaml.py THEIRS.yaml configs/imagenet_revit_b.py --out my_config.py

Read are PySlowFast's options (nested, in capitals: ReViT, ReMViTv2, ReSwin) and those of timm's train.py (flat:
Refiner-ViT). What comes out inherits from the config and has what differs. Every option that is not known here, or that
says what our config cannot, is named: look at those by hand. An option that changes nothing is no difference.
"""
import argparse
import re
from collections.abc import Iterator
from copy import deepcopy
from inspect import signature
from os.path import abspath
from pathlib import Path
from pprint import pformat

import yaml
from mmengine.config import Config
from mmengine.registry import MODELS

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.config import LOADERS, dicts_in, load_config
from mmvit_backbones.utils.scripts import output_file, run_script

# What the options of both are called below. PySlowFast's rates are per 512 images of one step and times the steps
# accumulated, as ReViT's authors have it.
PYSLOWFAST = {
    'NUM_GPUS': 'gpus', 'RNG_SEED': 'seed', 'DATA_LOADER.NUM_WORKERS': 'workers', 'MODEL.NUM_CLASSES': 'num_classes',
    'TRAIN.BATCH_SIZE': 'batch_size', 'TRAIN.MIXED_PRECISION': 'amp', 'DATA.TRAIN_CROP_SIZE': 'img_size',
    'DATA.VAL_CROP_RATIO': 'crop_pct', 'MVIT.DROPPATH_RATE': 'drop_path', 'AUG.AA_TYPE': 'rand_augment',
    'AUG.RE_PROB': 'erase_prob', 'MIXUP.ENABLE': 'mix', 'MIXUP.ALPHA': 'mixup', 'MIXUP.CUTMIX_ALPHA': 'cutmix',
    'MIXUP.PROB': 'mix_prob', 'MIXUP.SWITCH_PROB': 'switch_prob', 'MIXUP.LABEL_SMOOTH_VALUE': 'smoothing',
    'SOLVER.BASE_LR': 'lr', 'SOLVER.COSINE_END_LR': 'min_lr', 'SOLVER.WARMUP_START_LR': 'warmup_lr',
    'SOLVER.WARMUP_EPOCHS': 'warmup_epochs', 'SOLVER.MAX_EPOCH': 'epochs', 'SOLVER.WEIGHT_DECAY': 'weight_decay',
    'SOLVER.OPTIMIZING_METHOD': 'optimizer', 'SOLVER.CLIP_GRAD_L2NORM': 'clip_grad', 'SOLVER.LR_POLICY': 'schedule'}
TIMM = {
    'seed': 'seed', 'workers': 'workers', 'num_classes': 'num_classes', 'batch_size': 'batch_size', 'amp': 'amp',
    'img_size': 'img_size', 'crop_pct': 'crop_pct', 'drop_path': 'drop_path', 'aa': 'rand_augment',
    'reprob': 'erase_prob', 'mixup': 'mixup', 'cutmix': 'cutmix', 'mixup_prob': 'mix_prob',
    'mixup_switch_prob': 'switch_prob', 'smoothing': 'smoothing', 'lr': 'lr', 'min_lr': 'min_lr',
    'warmup_lr': 'warmup_lr', 'warmup_epochs': 'warmup_epochs', 'epochs': 'epochs', 'cooldown_epochs': 'cooldown',
    'weight_decay': 'weight_decay', 'opt': 'optimizer', 'clip_grad': 'clip_grad', 'sched': 'schedule',
    'model_ema_decay': 'ema_decay', 'cos_reg_component': 'map_pairs'}
# Options that are one value of our configs; the others have a method each, or are read together.
PLACES = {
    'seed': 'randomness.seed', 'workers': 'train_dataloader.num_workers', 'drop_path': 'model.backbone.drop_path_rate',
    'weight_decay': 'optim_wrapper.optimizer.weight_decay'}
WORDS = {'rand_augment', 'optimizer', 'schedule'}  # all others are numbers, or switches
OPTIMIZERS = {'adam': 'Adam', 'adamw': 'AdamW'}


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('yaml', metavar='YAML', help="the authors' file")
    parser.add_argument('config', help='ImageNet config of the same network, to which the changes are made')
    parser.add_argument('-o', '--out', type=output_file, help='config file to write (default: print it)')
    return parser


def main(args: argparse.Namespace) -> None:
    options, names = read_options(args.yaml)
    cfg = load_config(args.config, needs=('model', 'optim_wrapper', 'train_dataloader'))
    if cfg.default_scope != 'mmpretrain':
        raise UsageError(f'{args.config} is no config of a classifier')
    before = deepcopy(cfg.to_dict())
    left = Importer(cfg, {names[option]: (option, value) for option, value in options.items() if option in names}).run()
    changes = difference(before, cfg.to_dict())
    text = f'# After {Path(args.yaml).name}.\n_base_ = {abspath(args.config)!r}\n'
    text += ''.join(f'{key} = {pformat(value, width=110, sort_dicts=False)}\n' for key, value in changes.items())
    if args.out:
        Path(args.out).write_text(text)
        print(f'{args.yaml} -> {args.out}')
    else:
        print(text, end='')
    for option, value in options.items():
        if option not in names:
            print(f'# not known: {option} = {value!r}')
        elif names[option] in left:
            print(f'# not taken over: {option} = {value!r}: {left[names[option]]}')


def read_options(file: str) -> tuple[dict, dict[str, str]]:
    """All options of a file by their whole names, and what the known ones are called here."""
    try:
        content = yaml.safe_load(Path(file).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f'{file} cannot be read: {str(error).splitlines()[0]}') from error
    if not isinstance(content, dict) or not content:
        raise UsageError(f'{file} must hold options by name, got {type(content).__name__}')
    options = dict(flatten(content))
    return options, PYSLOWFAST if any(isinstance(value, dict) for value in content.values()) else TIMM


def flatten(node: dict, prefix: str = '') -> Iterator[tuple[str, object]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flatten(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value


class Importer:
    """Changes a config as options say.

    Args:
        cfg (mmengine.Config): Of a classifier; changed in place.
        named (dict): By our names, the option's own name and its value.
    """

    def __init__(self, cfg: Config, named: dict[str, tuple[str, object]]) -> None:
        self.cfg = cfg
        self.values = {key: check(key, *pair) for key, pair in named.items()}
        self.left = {}
        self.rate_factor = 1
        if any(option.isupper() for option, _ in named.values()):
            accumulated = cfg.optim_wrapper.get('accumulative_counts', 1)
            self.rate_factor = self.get('batch_size', self.loader.batch_size) * self.get('gpus', 2) / 512 * accumulated

    @property
    def loader(self) -> dict:
        return self.cfg.train_dataloader

    def get(self, key: str, default=None):
        return self.values.get(key, default)

    def run(self) -> dict[str, str]:
        """What was not taken over, with the reason."""
        for key, value in self.values.items():
            if key in PLACES:
                self.cfg.merge_from_dict({PLACES[key]: value})
            elif hasattr(self, f'set_{key}'):
                getattr(self, f'set_{key}')(value)
        if 'erase_prob' in self.values:
            self.update('erase_prob', self.steps('RandomErasing'), erase_prob=self.get('erase_prob'))
        if self.values.keys() & {'mix', 'mixup', 'cutmix', 'mix_prob', 'switch_prob'}:
            self.mix()
        self.plan()
        return self.left

    def steps(self, kind: str) -> list[dict]:
        """The steps of that type in all pipelines."""
        return [step for loader in LOADERS for step in dicts_in(self.cfg.get(loader)) if step.get('type') == kind]

    def update(self, key: str, nodes: list[dict], **values) -> None:
        if not nodes:
            self.left[key] = 'the config has no place for it'
        for node in nodes:
            node.update(values)

    # ---- each option

    def set_batch_size(self, value: float) -> None:
        scale = self.cfg.auto_scale_lr
        scale.base_batch_size = value * scale.base_batch_size // self.loader.batch_size
        self.loader.batch_size = value

    def set_amp(self, value: bool) -> None:
        if value != (self.cfg.optim_wrapper.type == 'AmpOptimWrapper'):
            self.left['amp'] = 'give train.py --amp or --no-amp'

    def set_num_classes(self, value: float) -> None:
        nodes = [*dicts_in(self.cfg.model), *dicts_in(self.cfg.get('data_preprocessor'))]
        self.update('num_classes', [node for node in nodes if 'num_classes' in node], num_classes=value)

    def set_img_size(self, value: float) -> None:
        backbone = self.cfg.model.backbone
        if 'img_size' in signature(MODELS.get(backbone.type)).parameters and value != backbone.get('img_size', 224):
            backbone.img_size = value
        shares = [step['scale'] / crop['crop_size'] for step, crop in zip(self.steps('ResizeEdge'),
                                                                        self.steps('CenterCrop'))]
        for step, share in zip(self.steps('ResizeEdge'), shares):
            step['scale'] = round(share * value)
        self.update('img_size', self.steps('CenterCrop'), crop_size=value)
        self.update('img_size', self.steps('RandomResizedCrop'), scale=value)

    def set_crop_pct(self, value: float) -> None:
        side = self.steps('CenterCrop')[0]['crop_size']
        if value > 1:
            self.left['crop_pct'] = 'it makes images smaller than the crop'
        else:
            self.update('crop_pct', self.steps('ResizeEdge'), scale=int(side / value))

    def set_rand_augment(self, value: str) -> None:
        parts = dict(re.findall(r'-(mstd|inc|m|n)([\d.]+)', value))
        if not value.startswith('rand-') or 'm' not in parts or parts.get('inc') != '1':
            self.left['rand_augment'] = 'known is rand-mM-nN-mstdS-inc1'
            return
        self.update('rand_augment', self.steps('RandAugment'), magnitude_level=number(parts['m']),
                    num_policies=int(parts.get('n', 2)), magnitude_std=number(parts.get('mstd', '0')))

    def set_smoothing(self, value: float) -> None:
        nodes = [node for node in dicts_in(self.cfg.model.head) if node.get('type') == 'LabelSmoothLoss']
        for node in nodes + self.steps('PoolTokenLabels'):
            if node.get('label_smooth_val', 0.1) != value:
                node['label_smooth_val'] = value

    def set_optimizer(self, value: str) -> None:
        if value.lower() in OPTIMIZERS:
            self.cfg.optim_wrapper.optimizer.type = OPTIMIZERS[value.lower()]
        else:
            self.left['optimizer'] = f'known are {", ".join(OPTIMIZERS)}'

    def set_clip_grad(self, value: float) -> None:
        self.cfg.optim_wrapper.clip_grad = dict(max_norm=value) if value else None

    def set_schedule(self, value: str) -> None:
        if value.lower() != 'cosine':
            self.left['schedule'] = 'known is cosine'

    def set_ema_decay(self, value: float) -> None:
        hooks = [hook for hook in self.cfg.get('custom_hooks') or [] if hook['type'] == 'EMAHook']
        self.update('ema_decay', hooks, momentum=rounded(1 - value))

    def set_map_pairs(self, value: float) -> None:
        head = self.cfg.model.head
        if not head.get('dense', True):
            self.left['map_pairs'] = "the authors' plain recipes count two, whatever their files say"
        else:
            self.update('map_pairs', [head.map_loss] if head.get('map_loss') else [], num_pairs=value)

    # ---- options that belong together

    def mix(self) -> None:
        """Mixup and CutMix, and how often each."""
        alphas = {} if self.get('mix') is False else {
            'Mixup': self.get('mixup', 0.), 'CutMix': self.get('cutmix', 0.)}
        augments = [dict(type=kind, alpha=alpha) for kind, alpha in alphas.items() if alpha]
        share, switch = self.get('mix_prob', 1.), self.get('switch_prob', 0.5)
        shares = [share] if len(augments) == 1 else [share * (1 - switch), share * switch]
        plain = share == 1 and (len(augments) == 1 or switch == 0.5)
        train_cfg = dict(augments=augments) if plain else dict(augments=augments, probs=shares)
        old = dict(self.cfg.model.get('train_cfg') or dict(augments=[]))
        if isinstance(old['augments'], dict):
            old['augments'] = [old['augments']]
        if train_cfg != old:
            self.cfg.model.train_cfg = train_cfg if augments else None

    def plan(self) -> None:
        """Rates and epochs."""
        optimizer = self.cfg.optim_wrapper.optimizer
        if 'lr' in self.values:
            optimizer.lr = rounded(self.get('lr') * self.rate_factor)
        cosine = next((s for s in self.cfg.param_scheduler if s['type'] == 'CosineAnnealingLR'), None)
        warmup = next((s for s in self.cfg.param_scheduler if s['type'] == 'LinearLR'), None)
        for key, scheduler in dict(warmup_lr=warmup, warmup_epochs=warmup, min_lr=cosine).items():
            if key in self.values and scheduler is None:
                self.left[key] = 'the config has no such scheduler'
        if warmup:
            if 'warmup_lr' in self.values:
                warmup['start_factor'] = rounded(self.get('warmup_lr') * self.rate_factor / optimizer.lr)
            if 'warmup_epochs' in self.values:
                if cosine and cosine.get('begin') == warmup['end']:
                    cosine['begin'] = self.get('warmup_epochs')
                warmup['end'] = self.get('warmup_epochs')
        if cosine and 'min_lr' in self.values:
            cosine['eta_min'] = rounded(self.get('min_lr') * self.rate_factor)
        if 'epochs' in self.values:
            if cosine:
                cosine['end'] = self.get('epochs')
            self.cfg.train_cfg.max_epochs = self.get('epochs') + self.get('cooldown', 0)


def check(key: str, option: str, value):
    """The value of an option, of the kind that it must have."""
    if key in WORDS:
        if isinstance(value, str):
            return value
    elif isinstance(value, str):  # YAML takes 1e-3 for a word
        try:
            return number(value)
        except ValueError:
            pass
    elif isinstance(value, (bool, int, float)) and (value >= 0):
        return value
    elif value is None and key == 'clip_grad':
        return 0
    raise UsageError(f'{option} must be a {"word" if key in WORDS else "number, 0 or more"}, got {value!r}')


def number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() and 'e' not in text.lower() and '.' not in text else value


def rounded(value: float) -> float:
    return float(f'{value:.6g}')


def difference(before: dict, after: dict) -> dict:
    """What a config must say to make one dict of the other; lists are replaced."""
    changes = {}
    for key, value in after.items():
        old = before.get(key)
        if value == old and key in before:
            continue
        both = isinstance(value, dict) and isinstance(old, dict)
        changes[key] = difference(old, value) if both and old.keys() <= value.keys() else value
        if both and not old.keys() <= value.keys():
            changes[key] = dict(_delete_=True, **value)
    return changes


if __name__ == '__main__':
    run_script(get_parser(), main)
