#!/usr/bin/env python3
"""Tests the package in environments that already have PyTorch and OpenMMLab: ``make test-matrix``.

In each environment, a wheel is installed by pip. This must not change the files of any other distribution. Then mmdet's
own script trains the detector of README.md for two iterations, and tests of the networks run.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ('tests/integrations/test_mmcv_ops.py', 'tests/test_contract.py', 'tests/test_goldens.py',
         'tests/test_versions.py', 'tests/running/test_step.py', 'tests/zoo/test_layouts.py',
         'tests/zoo/test_loading.py', 'tests/zoo/test_reading.py', 'tests/zoo/test_state_dicts.py')
# Appended to the README's config of a Mask R-CNN, for a training on a few small images.
DATA = """
data = dict(data_root='data/coco_mini/', metainfo=dict(classes=('person', 'vehicle', 'animal', 'food')), indices=2)
train_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False, dataset=dict(
    ann_file='annotations/large_train.json', data_prefix=dict(img='train/'), **data))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(
    ann_file='annotations/large_val.json', data_prefix=dict(img='val/'), **data))
val_evaluator = dict(ann_file='data/coco_mini/annotations/large_val.json')
default_hooks = dict(logger=dict(interval=1))
"""
OPTIONS = ['train_cfg.max_epochs=1', 'model.roi_head.bbox_head.num_classes=4', 'model.roi_head.mask_head.num_classes=4',
           'train_dataloader.dataset.pipeline.2.scale=(320,200)', 'val_dataloader.dataset.pipeline.1.scale=(320,200)']


def run(*command: str | Path, **options) -> None:
    print('$', *command, flush=True)
    if subprocess.run(command, cwd=ROOT, **options).returncode:
        sys.exit(f'test-matrix: {command[0]} failed, see above')


def files_of_others(environment: Path) -> dict[Path, tuple[int, int]]:
    """Returns the size and time of change of all files that do not belong to this package."""
    files = [file for file in environment.rglob('*') if file.is_file() and '__pycache__' not in file.parts
             and 'mmvit' not in str(file.relative_to(environment))]
    return {file: (file.stat().st_size, file.stat().st_mtime_ns) for file in files}


def test(environment: Path, wheel: Path) -> None:
    """Installs the wheel in the environment and tests it; exits if anything fails."""
    python, site = environment / 'bin' / 'python', next(environment.glob('lib/python3*/site-packages'))
    subprocess.run([python, '-m', 'pip', 'uninstall', '--yes', '--quiet', 'mmvit_backbones'])
    before = files_of_others(environment)
    is_lite = bool([*site.glob('mmcv_lite-*')])
    extra = '[openmmlab-lite]' if is_lite else '[openmmlab]' if [*site.glob('mmdet-*')] else ''
    run(python, '-m', 'pip', 'install', '--quiet', f'{wheel}{extra}')
    after = files_of_others(environment)
    if changed := [str(file) for file in before.keys() | after.keys() if before.get(file) != after.get(file)]:
        sys.exit(f'test-matrix: the installation changed {len(changed)} files, e.g. {changed[0]}')
    run(python, '-m', 'pip', 'check')
    env = dict(os.environ)
    if is_lite:  # as on a machine without a compiler
        env['PATH'] = str(environment / 'bin')
        run(python, '-m', 'mmvit_backbones.integrations.mmcv_ops', env=env)
    if (site / 'mmdet').exists():
        train_detector(python, site / 'mmdet' / '.mim' / 'tools' / 'train.py', env)
    # `python -m pytest` would import the package from the checkout, not the installed one.
    run(environment / 'bin' / 'pytest', '-q', '--numprocesses=2', '-m', 'not slow and not compiler and not large',
        *TESTS)


def train_detector(python: Path, script: Path, env: dict[str, str]) -> None:
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    config = re.search(r"^_base_ = 'mmdet::.*?(?=^```)", readme, re.DOTALL | re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'mask_rcnn.py')
        file.write_text(config[0] + DATA, encoding='utf-8')
        run(python, script, file, '--work-dir', folder, '--cfg-options', *OPTIONS, env=env)


def main() -> None:
    parser = argparse.ArgumentParser(description='Test a wheel of this checkout in environments.')
    parser.add_argument('environments', nargs='+', type=Path, metavar='ENVIRONMENT', help='e.g. .venv-oldest')
    arguments = parser.parse_args()
    os.environ.pop('MMVIT_BUILD_OPS', None)  # set by the Makefile, not by users
    with tempfile.TemporaryDirectory() as folder:
        for environment in map(Path.absolute, arguments.environments):
            if not any(Path(folder).glob('*.whl')):  # without compiled operators, one wheel is for all environments
                run(environment / 'bin' / 'python', '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--wheel-dir', folder,
                    '.')
            test(environment, *Path(folder).glob('*.whl'))
            print(f'test-matrix: {environment.name} passed', flush=True)


if __name__ == '__main__':
    main()
