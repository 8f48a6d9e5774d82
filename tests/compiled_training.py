"""Trains a tiny network with compiled blocks as one of two processes, by DDP and by FSDP2, and without processes."""
import copy
import json
from datetime import timedelta

import torch
import torch.distributed as dist
from helpers import fresh_model, images
from sharded_training import RANKS, blocks, train
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel


def run(folder: str, rank: int) -> None:
    """Writes the losses of each kind of training to ``results.json``, in the first process."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=RANKS,
                            timeout=timedelta(seconds=240))
    model = fresh_model('ReSwin', drop_path_rate=0.)
    parts = images(40, 50, batch=2 * RANKS).chunk(RANKS)
    replicated, sharded = copy.deepcopy(model), copy.deepcopy(model)
    for block in blocks(sharded, parts[0]):
        fully_shard(block)
    fully_shard(sharded)
    found = {}
    for name, network in dict(ddp=DistributedDataParallel(replicated), fsdp=sharded).items():
        getattr(network, 'module', network).compile_blocks(dynamic=True, backend='aot_eager')  # as a hook does
        found[name] = [losses[0] for losses in train(network, [parts[rank]])]
    gathered = [None] * RANKS
    dist.all_gather_object(gathered, found)
    if rank == 0:
        alone = [list(losses) for losses in zip(*train(model, list(parts)))]
        with open(f'{folder}/results.json', 'w', encoding='utf-8') as file:
            json.dump(dict(alone=alone, together=gathered), file)
    dist.destroy_process_group()
