"""Build step that pyproject.toml cannot express: what mim expects inside the wheel."""
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


setup(cmdclass={'build_py': BuildPyWithMim})
