"""Resuming with other options: which options are applied, and which are refused."""
import json
import shutil
import site
from functools import partial

import pytest
import torch
from mmengine.config import Config
from runs import TINY, assert_same_weights, train
from verbs import call

from mmvit_backbones.errors import UsageError
from mmvit_backbones.training.resume import resume_from
from mmvit_backbones.zoo.files import load_checkpoint_file

pytestmark = pytest.mark.training


@pytest.fixture(scope='module')
def short(tmp_path_factory):
    """Returns the work dir of a finished run with two epochs of four steps."""
    work_dir = tmp_path_factory.mktemp('short') / 'work'
    run = train(work_dir, '--epochs=2')
    assert run.wait() == 0, run.text
    return work_dir


def rates(work_dir):
    """Returns the learning rate of each step."""
    found = {}
    for log in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in log.read_text().splitlines():
            entry = json.loads(line)
            if 'loss' in entry:
                found[entry['step']] = entry['lr']
    return found


def resumed(work_dir, epoch, folder, *options, **more):
    """Copies the checkpoint of an epoch to a new work dir, resumes from it, and returns the finished run."""
    folder.mkdir()
    shutil.copy2(work_dir / f'epoch_{epoch}.pth', folder)
    run = train(folder, '--resume', *options, **more)
    run.wait()
    return run


@pytest.mark.parametrize('epoch, options', [
    (2, ('--epochs=5', )), (1, ('--epochs=2', '--lr=1e-6'))])
def test_resumed_schedules_equal_those_of_an_uninterrupted_run(short, epoch, options, tmp_path):
    whole = train(tmp_path / 'whole', *options)
    assert whole.wait() == 0, whole.text
    # The number of epochs is saved in the checkpoint and need not be repeated.
    run = resumed(short, epoch, tmp_path / 'resumed', *(option for option in options if option != '--epochs=2'))
    assert run.wait() == 0, run.text
    expected, found = rates(tmp_path / 'whole'), rates(tmp_path / 'resumed')
    assert len(set(expected.values())) > 2
    assert found == {step: rate for step, rate in expected.items() if step > 4 * epoch}
    assert f'{found[4 * epoch + 1]:.4g} now' in run.text  # the summary has the rate of the first resumed step


@pytest.mark.parametrize('rank, lines', [('0', 1), ('1', 0)])
def test_a_finished_training_is_reported_by_one_process(rank, lines, tmp_path, monkeypatch, capsys):
    path = str(tmp_path / 'epoch_3.pth')
    torch.save(dict(meta=dict(epoch=3), message_hub={}, optimizer={}), path)
    monkeypatch.setenv('RANK', rank)
    resume_from(Config(dict(train_cfg=dict(max_epochs=3))), path)
    assert capsys.readouterr().out.count('already finished') == lines


TWO_OPTIMIZERS = """
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS
from mmpretrain.models import ImageClassifier


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OneForEachPart:
    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        self.optimizer = optim_wrapper_cfg['optimizer']

    def __call__(self, model):
        parts = {name: list(part.parameters()) for name, part in model.named_children()}
        return OptimWrapperDict(**{name: OptimWrapper(OPTIMIZERS.build(dict(self.optimizer, params=parameters)))
                                   for name, parameters in parts.items() if parameters})


@MODELS.register_module()
class InParts(ImageClassifier):
    def train_step(self, data, optim_wrapper):
        loss, logged = self.parse_losses(self(**self.data_preprocessor(data, True), mode='loss'))
        optim_wrapper['backbone'].backward(loss)
        for part in optim_wrapper.values():
            part.step()
            part.zero_grad()
        return logged
"""


def test_several_optimizers_are_resumed_unchanged_or_refused(tmp_path):
    (tmp_path / 'two_optimizers.py').write_text(TWO_OPTIMIZERS)
    config, options = tmp_path / 'config.py', dict(before=partial(site.addsitedir, str(tmp_path)))
    config.write_text(f"_base_ = {str(TINY)!r}\ncustom_imports = dict(imports=['two_optimizers'])\n"
                      "model = dict(type='InParts')\noptim_wrapper = dict(constructor='OneForEachPart')\n")
    run = train(tmp_path / 'whole', '--epochs=2', config=config, **options)
    assert run.wait() == 0, run.text
    run = resumed(tmp_path / 'whole', 1, tmp_path / 'same', config=config, **options)
    assert run.wait() == 0, run.text
    assert_same_weights(tmp_path / 'whole/epoch_2.pth', tmp_path / 'same/epoch_2.pth')
    run = resumed(tmp_path / 'whole', 1, tmp_path / 'other', '--lr=1e-6', config=config, **options)
    assert run.wait() == 1 and 'several optimizers' in run.error and 'load_from' in run.error


def test_saved_options_hold_without_being_repeated(short, tmp_path):
    """The saved two epochs take precedence over the three epochs of the config file."""
    run = resumed(short, 1, tmp_path / 'resumed')
    assert run.wait() == 0, run.text
    assert 'epochs=2' in run.text and 'the config has changed' not in run.text
    assert_same_weights(short / 'epoch_2.pth', tmp_path / 'resumed/epoch_2.pth')


def test_frozen_stages_keep_their_weights_and_the_others_their_moments(tmp_path):
    """Layer-wise decay has parameter groups for each learning rate, so freezing changes the groups."""
    decay = ['optim_wrapper.constructor=LayerDecayConstructor', 'optim_wrapper.paramwise_cfg.decay_rate=0.5']
    run = train(tmp_path / 'whole', '--epochs=2', *decay)
    assert run.wait() == 0, run.text
    run = resumed(tmp_path / 'whole', 1, tmp_path / 'resumed', '--freeze=2', *decay)
    assert run.wait() == 0, run.text
    before, after = (load_checkpoint_file(tmp_path / name) for name in ('whole/epoch_1.pth', 'resumed/epoch_2.pth'))
    same = {name for name, weight in before['state_dict'].items() if weight.equal(after['state_dict'][name])}
    frozen = {name for name in same if name.startswith(('backbone.patch_embed', 'backbone.stages.0.'))}
    assert frozen and 'head.fc.weight' not in same
    names = [name for group in after['meta']['settings']['groups'] for name in group['names']]
    steps = {names[index]: float(state['step']) for index, state in after['optimizer']['state'].items()}
    assert steps['head.fc.weight'] == 8 and not frozen & steps.keys()


@pytest.mark.parametrize('options, word', [
    (dict(cfg_options={'optim_wrapper.optimizer.type': 'os.mkdir'}), 'type=os.mkdir'),
    (dict(cfg_options={'custom_imports.imports': ['evil']}), 'evil'), (dict(epochs='many'), 'many'), ('text', 'text')])
def test_saved_options_are_data(short, options, word, tmp_path):
    """Options in a checkpoint must not name code, because MMEngine would call any function that a config names."""
    checkpoint = load_checkpoint_file(short / 'epoch_1.pth')
    checkpoint['meta']['options'] = options
    torch.save(checkpoint, tmp_path / 'foreign.pth')
    with pytest.raises(UsageError, match=word):
        call('train', TINY, '--check', '--resume', tmp_path / 'foreign.pth', '--work-dir', tmp_path / 'work')


@pytest.mark.parametrize('content, option, words', [
    ('', '--seed=5', ('seed 7', 'not 5', 'load_from')),
    ("optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.1, weight_decay=0.))", '',
     ('AdamW', 'SGD', 'load_from'))])
def test_incompatible_changes_are_refused_in_one_line(short, content, option, words, tmp_path):
    config = tmp_path / 'edited.py'
    config.write_text(f"_base_ = '{TINY}'\n{content}\n")
    run = resumed(short, 1, tmp_path / 'resumed', *filter(None, [option]), config=config)
    assert run.wait() == 1
    assert all(word in run.error for word in words), run.error
