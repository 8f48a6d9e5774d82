#!/usr/bin/env python3
"""Tests the package in an old, a middle and a new environment: ``make test-matrix``.

An environment has the packages pinned in ``requirements/NAME.txt`` and is in the folder ``.venv-NAME``. The package
that is tested is installed from a wheel, which is built from an sdist of this checkout.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from collections.abc import Sequence
from pathlib import Path

import setup_env
from setup_env import ROOT, SetupError, minutes, say

PYTHONS = {'oldest': '3.10', 'middle': '3.12', 'newest': '3.13'}
TESTS = ('tests/test_contract.py', 'tests/test_contract_modules.py', 'tests/test_goldens.py', 'tests/zoo/test_files.py',
         'tests/zoo/test_archive.py', 'tests/zoo/test_layouts.py', 'tests/zoo/test_loading.py',
         'tests/zoo/test_published.py', 'tests/training/test_step.py', 'tests/test_versions.py')
PINS = 'tests/tools/pins_on_index.py'  # has the same result in every environment, so it runs only in the newest
SHOWN = {'torch': ['torch'], 'NumPy': ['numpy'], 'MMEngine': ['mmengine', 'onedl-mmengine'],
         'mmcv': ['mmcv', 'mmcv-lite'], 'mmpretrain': ['mmpretrain', 'onedl-mmpretrain']}
PAGE = ROOT / 'docs' / 'upstream.md'
HEADER = ['environment', 'Python', *SHOWN, 'passed', 'skipped', 'failed', 'set up, tests']
# Installed in the oldest environment if WITH_MMDET=1, together with an mmcv that has operators.
DETECTION = ROOT / 'requirements' / 'oldest-mmdet.txt'
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
TRAINING_COMMANDS = {
    'mmdet': ['{folder}/mask_rcnn.py', 'train_cfg.max_epochs=1',
              'train_dataloader.dataset.pipeline.2.scale=(320,200)',
              'val_dataloader.dataset.pipeline.1.scale=(320,200)',
              'model.roi_head.bbox_head.num_classes=4', 'model.roi_head.mask_head.num_classes=4'],
    'mmseg': ['configs/demo/upernet_reswin_t_camvid.py', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2'],
}


def set_up(name: str) -> str | None:
    """Creates an environment; returns None, or the reason why the environment cannot be created."""
    pins = ROOT / 'requirements' / f'{name}.txt'
    setup_env.use(ROOT / f'.venv-{name}')
    stamp = setup_env.VENV / 'setup.stamp'
    if stamp.exists() and stamp.read_bytes() == pins.read_bytes():
        return None
    try:
        python, _ = setup_env.find_python([PYTHONS[name]])
    except SetupError as error:
        return str(error)
    setup_env.create_venv(python, pins)
    stamp.write_bytes(pins.read_bytes())
    return None


def install_package(name: str) -> None:
    """Installs a wheel built from an sdist of this checkout, without a package index and without dependencies."""
    kind = 'forks' if 'onedl-mmengine' in setup_env.read_pins(ROOT / 'requirements' / f'{name}.txt') else 'upstream'
    env = dict(MMVIT_OPENMMLAB=kind, MMVIT_BUILD_OPS=os.environ.get('MMVIT_BUILD_OPS', '0'), PIP_NO_INDEX='1')
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'source')
        shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns('.venv*', '.git', '*.so', 'build', 'work_dirs',
                                                                    '__pycache__', '*.egg-info'))
        build = 'import setuptools.build_meta as b, sys; b.build_sdist(sys.argv[1])'
        setup_env.run(setup_env.PYTHON, '-c', build, folder, cwd=source, **env)
        sdist, = Path(folder).glob('*.tar.gz')
        setup_env.pip('wheel', '--no-build-isolation', '--no-deps', '--wheel-dir', folder, sdist, **env)
        wheel, = Path(folder).glob('*.whl')
        setup_env.pip('install', '--no-deps', '--force-reinstall', wheel, **env)
    check = subprocess.run([setup_env.PYTHON, '-m', 'pip', 'check'], capture_output=True, text=True).stdout
    missing = [line for line in check.splitlines() if line.startswith('mmvit')]
    if missing:
        raise SetupError(f'{setup_env.VENV}: {"; ".join(missing)}')


def run_tests(files: Sequence[str]) -> dict[str, int]:
    """Returns how many tests passed, were skipped and failed."""
    with tempfile.TemporaryDirectory() as folder:
        # `python -m pytest` would import the package from the checkout, not the installed one.
        command = [setup_env.VENV / 'bin' / 'pytest', '-q', '-m', 'not slow and not compiler',
                   f'--junitxml={folder}/results.xml', f'--numprocesses={os.environ.get("JOBS", "2")}', *files]
        env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': ''}
        done = subprocess.run([str(part) for part in command], cwd=ROOT, env=env)
        if done.returncode > 1:
            raise SetupError(f'{setup_env.VENV}: pytest failed with exit code {done.returncode}')
        suite = xml.etree.ElementTree.parse(f'{folder}/results.xml').getroot().find('testsuite')
    count = {key: int(suite.get(key)) for key in ('tests', 'skipped', 'failures', 'errors')}
    failed = count['failures'] + count['errors']
    return dict(passed=count['tests'] - count['skipped'] - failed, skipped=count['skipped'], failed=failed)


def versions() -> list[str]:
    """Returns the versions of Python and of the packages in the table, with a dash for packages not installed."""
    program = ('import json, platform; from importlib.metadata import distributions; '
               'print(json.dumps([platform.python_version(), '
               '{d.metadata["Name"].lower(): d.version for d in distributions()}]))')
    python, installed = json.loads(setup_env.output(setup_env.PYTHON, '-c', program))
    found = [[f'{name} {installed[name]}' if len(names) > 1 else installed[name] for name in names
              if name in installed] for names in SHOWN.values()]
    return [python, *(names[0] if names else '–' for names in found)]


def train_detectors() -> None:
    """Trains for two iterations with the scripts of mmdetection and mmsegmentation, and with a compiled mmcv."""
    pins = ROOT / 'requirements' / 'oldest.txt'
    cache, torch = setup_env.choose_cache(), setup_env.read_pins(pins)['torch']
    python = PYTHONS['oldest'].replace('.', '')
    folder = cache / f'mmcv-2.1.0-torch{torch}-cp{python}-{setup_env.platform.machine()}-cpu'
    setup_env.install('setuptools==69.5.1', 'ninja')  # torch 2.1 compiles with a module that setuptools 70 removed
    wheel, = setup_env.provide_wheels(
        {'mmcv==2.1.0': folder}, lambda requirement, folder: setup_env.build_mmcv(requirement, folder, 'cpu'),
        'about 4 minutes on 2 cores')
    setup_env.pip('uninstall', '--yes', 'mmcv-lite')
    try:
        setup_env.install(wheel, '--requirement', DETECTION)
        train_and_evaluate()
    finally:
        setup_env.pip('uninstall', '--yes', 'mmcv', 'mmdet', 'mmsegmentation')
        setup_env.install('--requirement', pins)


def train_and_evaluate() -> None:
    site, = setup_env.VENV.glob('lib/python3*/site-packages')
    readme_config = re.search(r"^_base_ = 'mmdet::.*?(?=^```)", (ROOT / 'README.md').read_text(), re.DOTALL | re.M)
    for framework, (config, *options) in TRAINING_COMMANDS.items():
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, 'mask_rcnn.py').write_text(readme_config[0] + DATA)
            setup_env.run(setup_env.PYTHON, site / framework / '.mim/tools/train.py', config.format(folder=folder),
                          '--work-dir', folder, '--cfg-options', *options, cwd=ROOT, OMP_NUM_THREADS='1')
        say(f'{framework}: {Path(config).name} trained and evaluated in {minutes(time.monotonic() - start)}')


def write_table(rows: dict[str, list]) -> None:
    """Writes the rows into the table of the page; they replace earlier rows of the same environments."""
    before, start, rest = PAGE.read_text().partition('<!-- matrix -->\n')
    table, end, after = rest.partition('<!-- end of matrix -->')
    known = {line.split('|')[1].strip(): line for line in table.splitlines()[2:]}
    known.update({name: f'| {" | ".join(map(str, row))} |' for name, row in rows.items()})
    rows = [known[name] for name in PYTHONS if name in known]
    lines = [f'| {" | ".join(HEADER)} |', '|---' * len(HEADER) + '|', *rows]
    PAGE.write_text(before + start + '\n'.join(lines) + '\n' + end + after)


def test(name: str) -> list | None:
    start = time.monotonic()
    reason = set_up(name)
    if reason:
        say(f'{name}: skipped, {reason}')
        return None
    install_package(name)
    ready = time.monotonic()
    counts = run_tests([*TESTS, PINS] if name == 'newest' else TESTS)
    row = [name, *versions(), *counts.values(), f'{minutes(ready - start)}, {minutes(time.monotonic() - ready)}']
    say(' | '.join(map(str, row)))
    if name == 'oldest' and os.environ.get('WITH_MMDET') == '1':
        train_detectors()
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description='Test the package in several environments, which are created first.')
    parser.add_argument('environments', nargs='*', metavar='ENVIRONMENT',
                        help=f'any of {", ".join(PYTHONS)} (default: all)')
    parser.add_argument('--write', action='store_true', help='write the results into docs/upstream.md')
    arguments = parser.parse_args()
    unknown = set(arguments.environments) - PYTHONS.keys()
    if unknown:
        parser.error(f'ENVIRONMENT must be one of {", ".join(PYTHONS)}, got {", ".join(sorted(unknown))}')
    try:
        rows = {name: test(name) for name in arguments.environments or PYTHONS}
    except (SetupError, OSError) as error:
        sys.exit(f'test-matrix: {error}')
    rows = {name: row for name, row in rows.items() if row}
    if arguments.write:
        write_table(rows)
    failed = [name for name, row in rows.items() if row[HEADER.index('failed')]]
    if failed:
        sys.exit(f'test-matrix: tests failed in {", ".join(failed)}')


if __name__ == '__main__':
    main()
