"""Compiled blocks: graphs that all rates and depths share, and trainings with CompileHook."""
import copy
import io
import json

import pytest
import torch
from helpers import each_network, fresh_model, gradients, images, without_dropout
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from runs import TINY, end, train_together
from small_recipes import small_recipe
from tiny_configs import shallow
from tiny_runs import loader_of, log_of, runner_of
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from mmvit_backbones.engine import CompileHook
from mmvit_backbones.engine.hooks.compile import compile_backbone, is_classifier
from mmvit_backbones.layers import DropPath
from mmvit_backbones.utils import versions

pytestmark = [pytest.mark.compiler, pytest.mark.slow,
              # torch.compile looks at the gradients of all inputs.
              pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning'),
              pytest.mark.skipif(versions.is_older('2.6'), reason='compiling blocks requires PyTorch 2.6')]
SIZES = [(224, 224), (256, 320), (200, 304), (224, 352)]


@pytest.fixture(autouse=True)
def reset_compiler():
    torch._dynamo.reset()
    with torch._dynamo.config.patch(cache_size_limit=64):
        yield
    torch.compiler.set_stance('default')
    torch._dynamo.reset()


def graphs_of(network: str, sizes: list[tuple[int, int]], dynamic: bool, **arguments) -> int:
    """Returns the number of graphs in which the blocks of a network are trained; there are no breaks."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model, counter = fresh_model(network, **arguments).train().to('meta'), CompileCounter()
    model.compile_blocks(dynamic, backend=counter)
    for size in sizes:
        model(images(*size).to('meta'))
    assert not torch._dynamo.utils.counters['graph_break']
    return counter.frame_count


@each_network
def test_graphs_depend_on_kinds_of_blocks_and_stages_alone(network):
    """Not on the rate of stochastic depth, nor on the number of blocks."""
    two, three, four = (shallow(network, depth, first=2) for depth in (2, 3, 4))
    several_sizes = graphs_of(network, SIZES, True, **three, drop_path_rate=0.)
    assert graphs_of(network, SIZES, True, **four, drop_path_rate=0.2) == several_sizes
    one_size = graphs_of(network, SIZES[:1], False, **two, drop_path_rate=0.)
    assert graphs_of(network, SIZES[:1], False, **four, drop_path_rate=0.2) == one_size <= several_sizes


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('network', ['ReSwin', 'ResT', 'ViTAE'])
def test_compiled_blocks_take_the_same_step(network, with_cp):
    model, x = without_dropout(fresh_model(network, drop_path_rate=0., with_cp=with_cp)).train(), images(60, 90)
    names, expected = list(model.state_dict()), gradients(model, x)
    model.zero_grad()
    model.compile_blocks(dynamic=True, backend='aot_eager')
    actual = gradients(model, x)
    assert list(model.state_dict()) == names
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_training_and_evaluations_have_their_own_graphs():
    """More than PyTorch's limit of eight, beyond which blocks run eagerly."""
    model, counter = fresh_model('ReSwin', drop_path_rate=0.), CompileCounter()
    with torch._dynamo.config.patch(cache_size_limit=8):
        model.compile_blocks(dynamic=False, backend=counter)
        model.train()(images(64, 64))
        of_training = counter.frame_count
        for context in torch.enable_grad, torch.no_grad:
            with context():
                model.eval()(images(64, 64))
    assert counter.frame_count == 3 * of_training > 8


def test_stochastic_depth_in_graphs():
    """Branches are dropped as often, and scaled as much, as eagerly."""
    layer, x, branch = DropPath(0.25).train(), torch.zeros(4000, 2), torch.ones(4000, 2)
    out = torch.compile(layer, backend='eager', dynamic=True)(x, branch, weight=3.)
    assert set(out.unique().tolist()) == {0., 4.} and (out == 0).float().mean().item() == pytest.approx(0.25, abs=0.05)


class Classifier(BaseModel):
    """A tiny backbone, whose loss is random without stochastic depth being off."""

    def __init__(self, **arguments) -> None:
        super().__init__()
        self.backbone = fresh_model('ReSwin', **arguments)

    def forward(self, x, mode='loss'):
        maps = self.backbone(torch.stack(list(x)).view(-1, 1, 1, 1).expand(-1, 3, 32, 32) / 8)
        return dict(loss=maps[-1].square().mean()) if mode == 'loss' else [None]


def trained(work_dir, hook: CompileHook | dict | None, epochs: int = 1, **changes) -> nn.Module:
    hooks = [dict(type='ExactResumeHook'), *([hook] if hook else [])]
    runner = runner_of(work_dir, model=Classifier(drop_path_rate=0.2), custom_hooks=hooks,
                       train_cfg=dict(by_epoch=True, max_epochs=epochs), **changes)
    runner.train()
    return runner.model


def test_a_resumed_training_is_that_of_an_uninterrupted_one(tmp_path):
    hook = dict(type='CompileHook', backend='aot_eager')
    wrapper = dict(optimizer=dict(type='SGD', lr=0.01), accumulative_counts=2)
    whole = trained(tmp_path / 'whole', hook, epochs=2, optim_wrapper=wrapper).state_dict()
    trained(tmp_path / 'parts', hook, epochs=1, optim_wrapper=wrapper)
    resumed = trained(tmp_path / 'parts', hook, epochs=2, resume=True, optim_wrapper=wrapper).state_dict()
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_network_runs_as_before_after_a_training(tmp_path):
    limit, counter = torch._dynamo.config.cache_size_limit, CompileCounter()
    runner = runner_of(tmp_path, model=Classifier(), custom_hooks=[CompileHook(backend=counter)],
                       test_dataloader=loader_of(), test_cfg={}, test_evaluator=Evaluator([]))
    runner.train()
    before = counter.frame_count
    runner.test()
    assert counter.frame_count == before > 0
    with torch.compiler.set_stance('fail_on_recompile'):
        runner.model.backbone.train()(images(128, 96))
    assert all(module.compiled_prob is None for module in runner.model.modules() if isinstance(module, DropPath))
    assert torch._dynamo.config.cache_size_limit == limit


class Fault(Hook):
    """Ends a training in its validation."""

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        raise KeyError


def test_a_training_that_fails_leaves_the_compiler_as_it_was(tmp_path):
    before = torch._dynamo.config.cache_size_limit
    with pytest.raises(KeyError):
        runner_of(tmp_path, model=Classifier(), custom_hooks=[CompileHook(backend='eager'), Fault()],
                  val_dataloader=loader_of(), val_cfg={}, val_evaluator=Evaluator([])).train()
    assert torch._dynamo.config.cache_size_limit == before
    counter = CompileCounter()
    torch.compile(torch.sin, backend=counter)(torch.ones(1))
    assert counter.frame_count == 1  # which it would not be while validations run eagerly


def fail(graph, inputs):
    raise RuntimeError('no C++ compiler')


def test_training_goes_on_where_nothing_can_be_compiled(tmp_path):
    trained(tmp_path, CompileHook(backend=fail))
    log = log_of(tmp_path)
    assert log.count('nothing is compiled') == 1 and 'no C++ compiler' in log


class Plain(Classifier):
    """A classifier whose backbone is of another library."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())


def test_a_backbone_of_another_library_is_compiled_as_a_whole(tmp_path):
    counter = CompileCounter()
    runner = runner_of(tmp_path, model=Plain(), custom_hooks=[CompileHook(backend=counter)],
                       train_cfg=dict(by_epoch=True, max_epochs=1))
    runner.train()
    assert counter.frame_count == 1 and counter.op_count == 3


def test_rates_of_compiled_blocks_are_copied_moved_and_saved_with_the_network():
    """They are no part of checkpoints, and stay in float32 in half precision."""
    model = fresh_model('ReSwin', drop_path_rate=0.2)
    keys = list(model.state_dict())
    model.compile_blocks(dynamic=True)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for each in model, copy.deepcopy(model), copy.deepcopy(model).half(), torch.load(file, weights_only=False):
        rates = [module.compiled_prob for module in each.modules() if isinstance(module, DropPath)]
        assert list(each.state_dict()) == keys
        assert {rate.dtype for rate in rates} == {torch.float32} and rates[-1] == pytest.approx(0.2)
    moved = [module.compiled_prob for module in model.to('meta').modules() if isinstance(module, DropPath)]
    assert {rate.device.type for rate in moved} == {'meta'}


def step(model: BaseModel, data: dict, dtype: torch.dtype) -> tuple[float, Tensor]:
    """Returns the loss of a step, and the gradient of the backbone."""
    torch.manual_seed(0)  # of mixed images
    model.zero_grad()
    with torch.autocast('cpu', dtype, dtype != torch.float32):
        loss, _ = model.parse_losses(model(**model.data_preprocessor(copy.deepcopy(data), True), mode='loss'))
    loss.backward()
    return loss.item(), torch.cat([parameter.grad.flatten() for parameter in model.backbone.parameters()])


@pytest.mark.usefixtures('frameworks')
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name, precision', [
    ('imagenet_revit_b', 'bfloat16'), ('mask_rcnn_revit_b', 'float32'),  # mmcv's NMS takes float32 alone
    ('upernet_revit_b', 'bfloat16')])
def test_a_step_of_every_task_is_near_the_eager_one(name, precision, tmp_path):
    config, dtype = small_recipe(name), getattr(torch, precision)
    config.work_dir, config.randomness = str(tmp_path), dict(seed=0)
    init_default_scope(config.default_scope)
    runner = Runner.from_cfg(config)
    model, data = revert_sync_batchnorm(runner.model), next(iter(runner.build_dataloader(config.train_dataloader)))
    model.init_weights()
    # Graphs draw random numbers for stochastic depth, and heads sample anchors.
    model.train().backbone.register_forward_hook(lambda *_: torch.manual_seed(0) and None)
    expected, gradient = step(model, data, dtype)
    torch._dynamo.utils.counters.clear()
    compile_backbone(model.backbone, not is_classifier(model))
    loss, actual = step(model, data, dtype)
    assert torch._dynamo.utils.counters['stats']['unique_graphs']
    assert loss == pytest.approx(expected, 0.01) and (actual - gradient).norm() < 0.02 * gradient.norm()


TINY_REVIT = f"""
_base_ = {str(TINY)!r}
arch = dict(embed_dims=48, depth=2, num_heads=2, mlp_ratio=4)
model = dict(
    backbone=dict(_delete_=True, type='ReViT', arch=arch, img_size=224, drop_path_rate=0.), head=dict(in_channels=48))
train_cfg = dict(max_epochs=1)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = []
"""


def test_two_processes_take_the_same_steps(tmp_path):
    (tmp_path / 'config.py').write_text(TINY_REVIT)
    losses = []
    for compiled in ['--compile'], []:
        work_dir = tmp_path / f'work{len(losses)}'
        work_dir.mkdir()
        options = [*compiled, '--work-dir', work_dir, '--seed', 7]
        runs = train_together(work_dir, 'pytorch', tmp_path / 'config.py', *options)
        end(runs)
        assert ('CompileHook' in runs[0].text) is bool(compiled) and 'nothing is compiled' not in runs[0].text
        lines = next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
        losses.append([line['loss'] for line in map(json.loads, lines) if 'loss' in line])
    assert len(losses[0]) == 2 and losses[0] == pytest.approx(losses[1], 1e-3)
