"""A text names the same thing for every command, which takes it or says what it takes."""
import pytest
from helpers import raises

from mmvit.naming import KINDS, OF_PACKAGE, TAKES, kind_of, resolve
from mmvit_backbones.errors import UsageError

NAMES = dict(
    exported=['run/model.onnx', 'MODEL.ONNX'], network=['reswin_tiny', 'resnet50', 'timm:resnet18'],
    config=['imagenet_reswin_t', 'run/config.py', './reswin_tiny.py'], run=['run', './reswin_tiny', 'run/'],
    checkpoint=['run/epoch_1.pth', 'none.pth', 'official://reswin_tiny', 'run/last_checkpoint', 'weights'])


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in 'run', 'reswin_tiny':
        (tmp_path / folder).mkdir()
    for file in 'run/model.onnx', 'run/config.py', 'run/last_checkpoint', 'weights':
        (tmp_path / file).touch()


@pytest.mark.parametrize('command', TAKES)
@pytest.mark.parametrize('kind', KINDS)
def test_a_command_takes_a_text_or_says_what_it_is(command, kind):
    for text in NAMES[kind]:
        assert kind_of(text) == kind
        if kind == 'network' and command in OF_PACKAGE and text != 'reswin_tiny':
            with raises(UsageError, command, text, 'networks of this package'):
                resolve(text, command)
        elif kind in TAKES[command]:
            assert resolve(text, command) == kind
        else:
            with raises(UsageError, command, text, KINDS[kind], *(KINDS[each] for each in TAKES[command])):
                resolve(text, command)


def test_near_names_and_the_way_to_a_folder_are_said():
    with raises(UsageError, 'reswin_tny', 'reswin_tiny'):
        resolve('reswin_tny', 'benchmark')
    with raises(UsageError, 'a network', './reswin_tiny'):
        resolve('reswin_tiny', 'export')
