"""The contract of all backbones with libraries that change modules, such as adapters and quantization."""
import json

import pytest
import torch
from helpers import each_network, fresh_model, images, largest_error, trained_model, tree_leaves, without_dropout
from tiny_configs import TINY_CONFIGS
from torch import Tensor, nn
from torch.nn.utils import parametrize

at_each_size = pytest.mark.parametrize('size', [(64, 96), (70, 90)], ids=str)
in_each_mode = pytest.mark.parametrize('mode', ['train', 'eval'])
# Images with and without padding, training and evaluation. Two of the four combinations are enough, because padding and
# mode are independent.
with_and_without = pytest.mark.parametrize('size, mode', [((64, 96), 'eval'), ((70, 90), 'train')], ids=str)


def model_in(mode: str, network: str) -> nn.Module:
    """Returns a model in float64, in which rounding errors are negligible."""
    return without_dropout(trained_model(network, drop_path_rate=0.)).double().train(mode == 'train')


def linear_layers(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if type(module) is nn.Linear]


@in_each_mode
@at_each_size
@each_network
def test_every_module_with_parameters_is_called(network, size, mode):
    """Libraries replace or wrap modules, so parameters must only be used by calling their module."""
    model, called = model_in(mode, network), set()
    owners = {name: module for name, module in model.named_modules() if list(module.parameters(recurse=False))}
    for name, module in owners.items():
        module.register_forward_hook(lambda *_, name=name: called.add(name))
    model(images(*size).double())
    assert not sorted(owners.keys() - called)


@each_network
def test_every_module_returns_tensors_with_dimensions(network):
    """Tools that summarize models use the first dimension of every output."""
    model, shapes = fresh_model(network), {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *args, name=name: shapes.update(
            {name: [x.shape for x in tree_leaves(args[-1]) if torch.is_tensor(x)]}))
    model(images(70, 90))
    assert not [name for name, found in shapes.items() if not found or not all(found)]


@pytest.mark.parametrize('size', [(64, 64), (70, 90)], ids=str)  # the first, of stored positions
@each_network
@torch.no_grad()
def test_no_module_returns_memory_of_its_parameters(network, size):
    """Sharded training frees the parameters of a module when its forward pass has ended."""
    model, sharing = model_in('train', network), []
    parameters = {x.untyped_storage().data_ptr(): name for name, x in model.named_parameters()}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *args, name=name: sharing.extend(
            (name, parameters.get(x.untyped_storage().data_ptr())) for x in tree_leaves(args[-1])
            if torch.is_tensor(x)))
    model(images(*size).double())
    assert not [(name, parameter) for name, parameter in sharing if parameter]


class Watched(nn.Module):
    """A parametrization that returns the parameter as it is, and notes whether its owner is in its forward pass."""

    def __init__(self, active: set[str], owner: str, outside: set[str]) -> None:
        super().__init__()
        self.active, self.owner, self.outside = active, owner, outside

    def forward(self, parameter: Tensor) -> Tensor:
        if self.owner not in self.active:
            self.outside.add(self.owner)
        return parameter


@with_and_without
@each_network
@torch.no_grad()
def test_no_module_reads_parameters_of_others(network, size, mode):
    """Sharded training gathers the parameters of a module for its forward pass; even a dtype is not read outside."""
    model = model_in(mode, network)
    active, outside = set(), set()
    for name, module in list(model.named_modules()):
        module.register_forward_pre_hook(lambda *_, name=name: active.add(name))
        module.register_forward_hook(lambda *_, name=name: active.discard(name))
        for own, _ in list(module.named_parameters(recurse=False)):
            parametrize.register_parametrization(module, own, Watched(active, name, outside))
    outside.clear()  # registering reads them
    model(images(*size).double())
    assert not outside


@pytest.mark.filterwarnings('ignore:Full backward hook is firing:UserWarning')  # e.g. inputs that are indices
@with_and_without
@each_network
def test_hooks_on_every_module_see_its_output_and_gradients(network, size, mode):
    """Programs for explanations, privacy and logs of gradients have such hooks; changes in place would break them."""
    model, kept, called = model_in(mode, network), [], set()
    for module in model.modules():
        module.register_forward_hook(lambda *args: kept.extend(
            (x, x.detach().clone()) for x in tree_leaves(args[-1]) if torch.is_tensor(x)))
        module.register_full_backward_hook(lambda module, *_: called.add(module))
    sum(out.mean() for out in model(images(*size).double().requires_grad_())).backward()
    assert all(torch.equal(x, copied) for x, copied in kept)
    assert called >= {module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d, nn.ReLU))}


@with_and_without
@each_network
@torch.no_grad()
def test_lora_adapters_can_be_merged(network, size, mode):
    peft = pytest.importorskip('peft')
    model, x = model_in(mode, network), images(*size).double()
    names, before = linear_layers(model), model(x)
    config = peft.LoraConfig(r=2, target_modules=names, init_lora_weights=False)  # by default, adapters have no effect
    model = peft.get_peft_model(model, config).train(mode == 'train')
    unmerged = model(x)
    assert largest_error(unmerged, before) > 1e-3
    merged = model.merge_and_unload().train(mode == 'train')
    assert linear_layers(merged) == names
    assert largest_error(merged(x), unmerged) < 1e-5


@each_network
@torch.no_grad()
def test_int8_weights(network):
    torchao = pytest.importorskip('torchao.quantization')
    model, x = fresh_model(network).eval(), images(70, 90)  # initial weights: the error grows with larger weights
    expected = model(x)
    torchao.quantize_(model, torchao.Int8WeightOnlyConfig())
    # The error of ReMViTv2 is larger, because it normalizes queries, keys and values.
    assert 0 < largest_error(model(x), expected) < (0.03 if network == 'ReMViTv2' else 0.02)


@pytest.mark.slow
def test_fsdp_takes_the_same_steps(tmp_path):
    """Compares the losses of two processes, each with half of the batch, with the losses of a single process.

    The processes shard each block, and in some networks, then every module that owns parameters.
    """
    if not hasattr(pytest.importorskip('torch.distributed.fsdp'), 'fully_shard'):
        pytest.skip('FSDP2 requires PyTorch 2.6')
    from runs import CONTEXT
    from sharded_training import run
    processes = [CONTEXT.Process(target=run, args=(str(tmp_path), rank)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results.keys() == TINY_CONFIGS.keys()
    assert not {network: ranks for network, ranks in results.items() if not agree(ranks)}


def agree(ranks: list[dict]) -> bool:
    """Returns whether both processes of ``sharded_training.py`` have the same losses as a single process."""
    if any('error' in rank for rank in ranks):
        return False
    alone = ranks[0]['alone']
    return all('blocks' in rank['together'] and len(set(losses)) > 1 and together == pytest.approx(losses, 1e-5)
               for rank, losses in zip(ranks, alone, strict=True) for together in rank['together'].values())
