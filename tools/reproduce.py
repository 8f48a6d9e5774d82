"""Test a published checkpoint and print published and measured figures, their difference, and a verdict.

    python tools/reproduce.py restv2_tiny --checkpoint checkpoints/restv2_tiny_224.pth
    python tools/reproduce.py configs/upernet_restv2_t.py --checkpoint CHECKPOINT

A network means its classifier on ImageNet. Figures of several scales and flips are measured with test-time
augmentation, ReaL accuracies where data/imagenet/real.json is. Without --checkpoint, a file with a fixed address is
downloaded. What is missing is said in one line.
"""
import argparse
import os.path as osp
from pathlib import Path

from mmengine.config import DictAction
from mmengine.runner import Runner

from mmvit_backbones.checkpoints.loading import use_safe_loading
from mmvit_backbones.cli import frameworks, launch
from mmvit_backbones.cli.config import UsageError, load_config
from mmvit_backbones.cli.data_check import check_data
from mmvit_backbones.cli.work_dir import set_work_dir
from mmvit_backbones.engine import CheckpointMatchHook
from mmvit_backbones.published import RESULTS, read_figures
from mmvit_backbones.zoo import VARIANTS

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
# Key of a published figure -> name of the measured one, what makes it percent, and what still counts as the same.
MEASURED = {
    'top1': ('accuracy/top1', 1, 0.1), 'top5': ('accuracy/top5', 1, 0.1), 'real': ('real/top1', 1, 0.1),
    'box': ('coco/bbox_mAP', 100, 0.2), 'mask': ('coco/segm_mAP', 100, 0.2),
    'ade20k': ('mIoU', 1, 0.2), 'cityscapes': ('mIoU', 1, 0.2),
}


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', help='network of mmvit_backbones.list_models(), or config')
    parser.add_argument('--checkpoint', help="file or http(s) address, in the authors' layout or in ours")
    parser.add_argument('--real', default='data/imagenet/real.json', metavar='FILE',
                        help="ImageNet's reassessed labels (default: %(default)s)")
    parser.add_argument('--work-dir', help='folder for logs (default: work_dirs/CONFIG NAME)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change the config')
    return parser


def main(args: argparse.Namespace) -> None:
    path = find_config(args.name)
    if path.stem not in RESULTS:
        raise UsageError(f'nothing is published for {path.stem}')
    published = RESULTS[path.stem]
    variant = VARIANTS[next(line['variant'] for line in read_figures() if line['config'] == path.stem)]
    checkpoint = args.checkpoint
    if checkpoint is None and path == classifier_of(variant.name) and str(variant.weights).startswith('https://'):
        checkpoint = variant.weights
    if checkpoint is None:
        place = variant.weights or 'no known place'
        raise UsageError(f'--checkpoint is missing: weights of {variant.name} are at {place}')
    rows = []
    for tta in (False, True):
        keys = [key for key in published if key.endswith('_ms') == tta]
        if 'real' in plain(keys) and not osp.isfile(args.real):
            print(f'ReaL accuracy is left out: {args.real} does not exist')
            keys = [key for key in keys if not key.startswith('real')]
        if keys:
            metrics = measure(args, path, checkpoint, tta, 'real' in plain(keys))
            rows += [compare(key, published[key], metrics) for key in keys]
    print(f'{"figure":<16}{"published":>11}{"measured":>11}{"difference":>12}  verdict', *rows, sep='\n')


def find_config(name: str) -> Path:
    if name in VARIANTS:
        return classifier_of(name)
    path = Path(name) if name.endswith('.py') else CONFIGS / f'{name}.py'
    if not path.is_file():
        raise UsageError(f'{name} is neither a config nor a network of mmvit_backbones.list_models()')
    return path


def classifier_of(name: str) -> Path:
    """The config of a network's classifier: in published.csv, that of its first line."""
    config = next((line['config'] for line in read_figures() if line['variant'] == name), '')
    if not config.startswith('imagenet_'):
        raise UsageError(f'nothing is published for the classifier of {name}')
    return CONFIGS / f'{config}.py'


def plain(keys: list[str]) -> list[str]:
    """Keys without what says how they were trained or tested."""
    return [key.removesuffix('_22k').removesuffix('_ms') for key in keys]


def measure(args: argparse.Namespace, path: Path, checkpoint: str, tta: bool, real: bool) -> dict[str, float]:
    cfg = load_config(str(path), args.cfg_options)
    set_work_dir(cfg, args.work_dir)
    if real:
        frameworks.use_real(cfg, args.real)
    check_data(cfg, ['test'])
    launch.check_backbone(cfg)
    launch.check_checkpoint(checkpoint)
    cfg.load_from = checkpoint
    if tta:
        frameworks.use_tta(cfg)
    use_safe_loading()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(CheckpointMatchHook(checkpoint, strict=True))
    return runner.test()


def compare(key: str, published: float, metrics: dict[str, float]) -> str:
    name, factor, tolerance = MEASURED[plain([key])[0]]
    measured = metrics[name] * factor
    difference = measured - published
    verdict = 'reproduced' if abs(difference) <= tolerance else f'differs by more than {tolerance}'
    return f'{key:<16}{published:>11}{measured:>11.2f}{difference:>+12.2f}  {verdict}'


if __name__ == '__main__':
    launch.run_script(get_parser(), main)
