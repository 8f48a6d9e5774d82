"""What is in the wheel, what it requires, and the check for distributions that overwrite each other."""
import subprocess
import sys
import zipfile
from email.parser import Parser

import pytest

from mmvit_backbones.installation import check_distributions


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    from conftest import ROOT
    folder = tmp_path_factory.mktemp('wheel')
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', folder,
                    ROOT], check=True)
    path, = folder.glob('*.whl')
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_wheel_carries_what_mim_expects(wheel, root):
    names = set(wheel.namelist())
    for folder in ('configs', 'tools'):
        for file in (root / folder).rglob('*.py'):
            assert f'mmvit_backbones/.mim/{file.relative_to(root)}' in names
    assert 'mmvit_backbones/.mim/tools/train.py' in names
    assert 'mmvit_backbones/.mim/model-index.yml' in names
    assert not (root / 'mmvit_backbones' / '.mim').exists()


def test_wheel_requires_only_torch_and_mmengine(wheel):
    metadata, = (name for name in wheel.namelist() if name.endswith('.dist-info/METADATA'))
    required = Parser().parsestr(wheel.read(metadata).decode()).get_all('Requires-Dist')
    base = [line for line in required if 'extra ==' not in line]
    assert base == ['torch>=2.0', 'onedl-mmengine>=0.10.8; extra != "upstream"']
    assert any(line.startswith('mmengine') and 'extra == "upstream"' in line for line in required)


def install_metadata(folder, *names):
    for name in names:
        info = folder / f'{name.replace("-", "_")}-1.0.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')


def test_two_providers_of_one_package_are_refused(tmp_path):
    install_metadata(tmp_path, 'mmcv', 'onedl-mmcv')
    with pytest.raises(ImportError, match='pip uninstall onedl-mmcv mmcv') as error:
        check_distributions(path=[str(tmp_path)])
    assert '\n' not in str(error.value)


def test_forks_alone_are_fine(tmp_path):
    install_metadata(tmp_path, 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection')
    check_distributions(path=[str(tmp_path)])
