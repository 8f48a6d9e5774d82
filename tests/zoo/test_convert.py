"""Converted weights in files for configs."""
import zipfile

import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS
from helpers import raises
from mmengine.logging import HistoryBuffer
from mmengine.registry import MODELS

from mmvit.cli import main
from mmvit_backbones import convert_state_dict
from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.utils.openmmlab_models import init_weights
from mmvit_backbones.zoo.convert import convert_weights
from mmvit_backbones.zoo.reading import read_file
from mmvit_backbones.zoo.settings import setting
from mmvit_backbones.zoo.variants import find_variant


@pytest.fixture(scope='module')
def published():
    """Returns a checkpoint of the smallest network in its authors' layout, with generated weights."""
    return fill_state_dict(NETWORKS['golden_vitae_t']['state_dict'], torch.float32)


@pytest.fixture
def home(published, tmp_path, monkeypatch):
    """Returns a cache folder with the authors' file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMVIT_HOME', str(tmp_path / 'home'))
    monkeypatch.delenv('MMVIT_MIRROR', raising=False)
    (tmp_path / 'home').mkdir()
    torch.save(dict(state_dict_ema=published), tmp_path / 'home/vitae_tiny.pth')
    return tmp_path / 'home'


@pytest.mark.parametrize('name', ['model.pth', 'model.safetensors'])
@pytest.mark.parametrize('task', ['classification', 'backbone'])
def test_a_single_file_is_loaded_by_init_cfg(home, published, name, task, tmp_path):
    (tmp_path / 'vitae_tiny').mkdir()  # whose name means the network
    convert_weights('vitae_tiny', name, task=task)
    weights = read_file(name)
    weights, expected = weights.get('state_dict', weights), convert_state_dict('vitae_tiny', published, task)
    assert weights.keys() == expected.keys() and all(torch.equal(weights[key], expected[key]) for key in expected)
    init_cfg = dict(type='Pretrained', checkpoint=name)
    backbone = MODELS.build(dict(setting(find_variant('vitae_tiny')).backbone, init_cfg=init_cfg))
    init_weights(backbone)
    loaded = backbone.state_dict()
    for key, value in convert_state_dict('vitae_tiny', published, 'backbone').items():
        assert torch.equal(loaded[key], value), key


@pytest.mark.parametrize('name', ['model.pth', 'model.safetensors'])
def test_weights_of_a_training_are_written_without_its_history(name, tmp_path):
    """Pickled histories call getattr, for which scanners of hubs call a checkpoint infected. Weights may be tied."""
    tied = torch.ones(2, 3)
    weights = {'backbone.norm.weight': torch.zeros(3), 'head.0.weight': tied, 'head.1.weight': tied}
    torch.save(dict(state_dict=weights, meta=dict(dataset_meta=dict(classes=('a', 'b'))), optimizer=dict(state={}),
                    message_hub=dict(log_scalars=dict(loss=HistoryBuffer([0.5], [1])))), tmp_path / 'epoch_1.pth')
    (tmp_path / 'last_checkpoint').write_text('epoch_1.pth')
    convert_weights(str(tmp_path), tmp_path / name)
    content = read_file(tmp_path / name)
    found = content.get('state_dict', content)
    assert found.keys() == weights.keys() and all(torch.equal(found[key], weights[key]) for key in weights)
    if name.endswith('.pth'):
        assert content['meta']['dataset_meta']['classes'] == ('a', 'b')
        assert b'getattr' not in zipfile.ZipFile(tmp_path / name).read('archive/data.pkl')


@pytest.mark.parametrize('options, words', [
    ('vitae_tiny --prefix model', ['--prefix', 'NAME/TAG']),
    ('vitae_tiny/512', ['512']), ('vitae_huge_one', ['vitae_huge_one']),
    ('timm:resnet18', ['weights convert', 'timm:resnet18']),
    ('home/vitae_tiny.pth', ['vitae_tiny.pth', '--prefix', 'state_dict_ema.'])])
def test_wrong_arguments_are_refused_before_anything_is_written(home, tmp_path, options, words, capsys):
    """The command names its options for the arguments of the functions."""
    with pytest.raises(SystemExit):
        main(['weights', 'convert', '--out', 'new.pth', *options.split()])
    error, = capsys.readouterr().err.splitlines()
    assert error.startswith('error: ') and all(word in error for word in words)
    assert not [*tmp_path.glob('new*')]


def test_a_file_of_several_models_is_converted_by_its_prefix(home, published):
    convert_weights('home/vitae_tiny.pth', 'model.pth', prefix='state_dict_ema')
    assert torch.equal(read_file('model.pth')['state_dict']['head.fc.bias'], published['head.bias'])


@pytest.mark.parametrize('prefix', ['net.', 'teacher', 'state_dict.net'])
def test_a_prefix_selects_the_weights_of_any_network(prefix, tmp_path):
    """As Lightning names them, or in a dict of their own."""
    weights = {'blocks.0.weight': torch.ones(2), 'head.bias': torch.zeros(2)}
    others = {f'net.{name}': x for name, x in weights.items()} | {'loss.weight': torch.ones(2)}
    file, out = str(tmp_path / 'file.ckpt'), tmp_path / 'own.safetensors'
    torch.save(dict(state_dict=others, teacher=weights), file)
    convert_weights(file, out, prefix)
    found = read_file(out)['state_dict']
    assert found.keys() == weights.keys() and all(torch.equal(found[name], weights[name]) for name in weights)
    with raises(CheckpointError, 'file.ckpt', 'student.', 'net', 'teacher'):
        convert_weights(file, out, 'student.')


def test_weights_of_a_training_that_diverged_are_refused(tmp_path):
    torch.save({'backbone.a': torch.tensor([1., torch.nan])}, tmp_path / 'file.pth')
    with raises(CheckpointError, 'file.pth', 'backbone.a', 'NaN'):
        convert_weights(str(tmp_path / 'file.pth'), tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


def test_files_have_a_known_suffix(home):
    with raises(UsageError, 'out', '.safetensors', 'model.bin'):
        convert_weights('vitae_tiny', 'model.bin')
