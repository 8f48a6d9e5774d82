"""What pyproject.toml can't express: compiled operators, and files for mim."""
import os
import runpy
import shutil
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

OPS = Path('mmvit_backbones', 'ops')
builder = runpy.run_path(str(OPS / 'build.py'))


class BuildPy(build_py):
    """Copies configs, tools and the model index for mim, and compiles the operators if possible."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            build_operators(OPS)
            return
        mim = Path(self.build_lib, 'mmvit_backbones', '.mim')
        for package in 'mmvit', 'mmvit_backbones':  # an earlier build's may be deleted since, or for another torch
            shutil.rmtree(Path(self.build_lib, package), ignore_errors=True)
        super().run()
        shutil.copytree('configs', mim / 'configs', ignore=shutil.ignore_patterns('__pycache__'))
        shutil.copytree('tools', mim / 'tools', ignore=shutil.ignore_patterns('__pycache__', 'dev', 'demo.py'))
        shutil.copy('model-index.yml', mim)
        build_operators(Path(self.build_lib) / OPS)


def build_operators(folder: Path) -> None:
    """Compiles the operators, or prints why this is impossible; the package then uses plain PyTorch.

    With ``MMVIT_BUILD_OPS=cpp`` or ``cuda``, it is an error if they can't be compiled.
    """
    try:
        report = builder['build'](os.environ.get('MMVIT_BUILD_OPS', 'auto'), folder)
    except builder['BuildError'] as error:
        raise SystemExit(f'error: {error}') from error
    print('\n'.join(f'operators ({kind}): {result}' for kind, result in report.items()), flush=True)


class Wheel(bdist_wheel):
    """Builds a wheel for all versions of Python and, if it contains compiled operators, for one platform."""

    def run(self) -> None:
        self.run_command('build')
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, platform = super().get_tag()
        return (python, abi, platform) if self.root_is_pure else ('py3', 'none', platform)


class DistributionWithOperators(Distribution):
    def has_ext_modules(self) -> bool:
        """Returns whether the build has compiled operators."""
        folder = self.get_command_obj('build').build_lib
        return folder is not None and any(Path(folder, OPS).glob('*.so'))


setup(cmdclass={'build_py': BuildPy, 'bdist_wheel': Wheel}, distclass=DistributionWithOperators)
