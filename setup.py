"""What pyproject.toml cannot express: what mim expects inside the wheel, and which mmengine is required."""
import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPyWithMim(build_py):
    """Copies configs, tools and the model index to ``mmvit_backbones/.mim``, where mim looks for them."""

    def run(self):
        super().run()
        if not self.editable_mode:  # an editable install must not write into the source tree
            self.copy_mim_files(Path(self.build_lib) / 'mmvit_backbones' / '.mim')

    def copy_mim_files(self, mim: Path):
        shutil.rmtree(mim, ignore_errors=True)  # an earlier build may have left files that are gone by now
        for folder in ('configs', 'tools'):
            shutil.copytree(folder, mim / folder, ignore=shutil.ignore_patterns('__pycache__'))
        shutil.copy('model-index.yml', mim)


# mmengine and its fork install the same files, and no extra of pip can take a base requirement back.
MMENGINES = {'forks': 'onedl-mmengine>=0.10.8', 'upstream': 'mmengine>=0.10'}
openmmlab = os.environ.get('MMVIT_OPENMMLAB', 'forks')
if openmmlab not in MMENGINES:
    raise SystemExit(f'MMVIT_OPENMMLAB must be one of {sorted(MMENGINES)}, got {openmmlab!r}')

setup(cmdclass={'build_py': BuildPyWithMim}, install_requires=['torch>=2.0', MMENGINES[openmmlab]])
