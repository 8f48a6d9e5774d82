"""What pyproject.toml can't express: compiled operators, files for mim, and the choice of MMEngine or its fork."""
import os
import runpy
import shutil
from pathlib import Path

import setuptools
from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

if int(setuptools.__version__.split('.')[0]) < 77:  # e.g. in a new environment of Python 3.11
    raise SystemExit(f'setuptools must be at least 77, got {setuptools.__version__}: '
                     "pip install 'setuptools>=77,<81' wheel")
from setuptools.command.bdist_wheel import bdist_wheel  # noqa: E402

OPS = Path('mmvit_backbones') / 'ops'
builder = runpy.run_path(str(Path(__file__).resolve().parent / OPS / 'build.py'))


class BuildPyWithMim(build_py):
    """Compiles the operators if possible, and copies configs, tools and the model index for mim."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # nothing is built; `python -m mmvit_backbones.ops.build` compiles in the source tree
            return
        package = Path(self.build_lib) / 'mmvit_backbones'
        self.copy_mim_files(package / '.mim')
        build_operators(package / 'ops')

    def copy_mim_files(self, mim: Path) -> None:
        shutil.rmtree(mim, ignore_errors=True)  # an earlier build may have copied files that have been deleted since
        # mim finds configs by file name, and configs in demo/ have the same names as recipes.
        for folder, excluded in (('configs', ('demo', )), ('tools', ('dev', 'demo.py'))):
            shutil.copytree(folder, mim / folder, ignore=shutil.ignore_patterns('__pycache__', *excluded))
        shutil.copy('model-index.yml', mim)


def build_operators(folder: Path) -> None:
    """Compiles the operators, or prints why this is impossible; the package then uses plain PyTorch.

    With ``MMVIT_BUILD_OPS=cpp`` or ``cuda``, it is an error if they can't be compiled.
    """
    for library in folder.glob('*.so'):
        library.unlink()  # copied from a checkout, perhaps for another version of torch
    try:
        report = builder['build'](os.environ.get('MMVIT_BUILD_OPS', 'auto'), folder)
    except builder['BuildError'] as error:
        raise SystemExit(f'error: {error}') from error
    print('\n'.join(f'operators ({kind}): {result}' for kind, result in report.items()), flush=True)


class Wheel(bdist_wheel):
    """Builds a wheel for all versions of Python and, if it contains compiled operators, for one platform."""

    def run(self) -> None:
        self.get_finalized_command('build')  # has_ext_modules() reads its folder, also with --skip-build
        if not self.skip_build:
            self.run_command('build')
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()

    def write_wheelfile(self, wheelfile_base: str, *args, **kwargs) -> None:
        """Writes the files for mim into two folders.

        mim reads them from the package, but onedl-mim 0.5.1 reads them from the folder of the distribution's first
        file. pip sorts the files by name, including the command `../../../bin/mmvit`. The second folder's name
        therefore starts with `+`, which precedes the dot.
        """
        super().write_wheelfile(wheelfile_base, *args, **kwargs)
        mim = Path(self.bdist_dir) / 'mmvit_backbones' / '.mim'
        if mim.exists():  # except in an editable installation
            shutil.copytree(mim, Path(self.bdist_dir) / '+mmvit_backbones' / '.mim')

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, platform = super().get_tag()
        return (python, abi, platform) if self.root_is_pure else ('py3', 'none', platform)


class DistributionWithOperators(Distribution):
    def has_ext_modules(self) -> bool:
        """Returns whether the build has compiled operators."""
        folder = self.get_command_obj('build').build_lib
        return folder is not None and any(Path(folder, OPS).glob('*.so'))


# The requirement is chosen here, because mmengine and its fork install the same files, and an extra cannot replace a
# base requirement. Both import cv2, but the fork does not depend on OpenCV. `make test-matrix` tests the lower bounds.
MMENGINES = {'forks': ['onedl-mmengine>=0.10.12', 'opencv-python-headless'], 'upstream': ['mmengine>=0.10.7']}
openmmlab = os.environ.get('MMVIT_OPENMMLAB', 'forks')
if openmmlab not in MMENGINES:
    raise SystemExit(f'MMVIT_OPENMMLAB must be one of {sorted(MMENGINES)}, got {openmmlab!r}')

setup(cmdclass={'build_py': BuildPyWithMim, 'bdist_wheel': Wheel}, distclass=DistributionWithOperators,
      install_requires=['torch>=2.1.2', *MMENGINES[openmmlab]])
