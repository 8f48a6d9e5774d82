"""Trains every tiny network as one of two processes with FSDP2; the first process also trains it without FSDP2.

FSDP2 shards blocks, and then every module that owns parameters, where a network has modules that only return what they
own.
"""
import copy
import json
from datetime import timedelta

import torch
import torch.distributed as dist
from helpers import fresh_model, images, without_dropout
from tiny_configs import TINY_CONFIGS
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard

from mmvit_backbones.layers import Gate, PositionEmbedding, RelativePositionTable

RANKS, STEPS = 2, 2


def blocks(model: nn.Module, x: Tensor) -> list[nn.Module]:
    """Returns the outermost modules in module lists that are called in a forward pass."""
    called = set()
    hooks = [module.register_forward_pre_hook(lambda module, _: called.add(module)) for module in model.modules()]
    with torch.no_grad():
        model.eval()(x)
    for hook in hooks:
        hook.remove()
    listed = {child for module in model.modules() if isinstance(module, nn.ModuleList) for child in module} & called
    inside = {module for child in listed for module in child.modules() if module is not child}
    return list(listed - inside)


def loss(model: nn.Module, x: Tensor) -> Tensor:
    return sum((out - out.shape[1]**-0.5).square().mean() for out in model(x))


def train(model: nn.Module, parts: list[Tensor]) -> list[list[float]]:
    """Returns the losses of each step, one per part of the batch."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(STEPS):
        of_parts = [loss(model, part) for part in parts]
        (sum(of_parts) / len(parts)).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append([x.item() for x in of_parts])
    return losses


def owners(model: nn.Module) -> list[nn.Module]:
    """Returns the modules that own parameters, inner ones first, if some only return what they own."""
    if not any(isinstance(module, (Gate, PositionEmbedding, RelativePositionTable)) for module in model.modules()):
        return []
    return [module for module in reversed(list(model.modules())) if list(module.parameters(recurse=False))]


def compare(network: str, rank: int) -> dict:
    model = without_dropout(fresh_model(network, drop_path_rate=0.))
    parts = images(40, 50, batch=2 * RANKS).chunk(RANKS)
    together = {}
    for what, find in dict(blocks=lambda model: blocks(model, parts[0]), modules=owners).items():
        sharded = copy.deepcopy(model)
        if inside := find(sharded):
            for module in (*inside, sharded):
                fully_shard(module)
            together[what] = [losses[0] for losses in train(sharded, [parts[rank]])]
    alone = [list(losses) for losses in zip(*train(model, parts))] if rank == 0 else None
    return dict(alone=alone, together=together)


def run(folder: str, rank: int) -> None:
    """Trains all networks as one of the processes; the first process writes losses and errors to ``results.json``."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=RANKS,
                            timeout=timedelta(seconds=120))
    results = {}
    for network in TINY_CONFIGS:
        try:
            results[network] = compare(network, rank)
        except Exception as error:  # the error is reported, and the next network is tried
            results[network] = dict(error=f'{type(error).__name__}: {error}')
    gathered = [None] * RANKS
    dist.all_gather_object(gathered, results)
    if rank == 0:
        with open(f'{folder}/results.json', 'w', encoding='utf-8') as file:
            json.dump({network: [of_rank[network] for of_rank in gathered] for network in TINY_CONFIGS}, file)
    dist.destroy_process_group()
