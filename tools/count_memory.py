"""Peak memory of networks at any size, counted without computing anything.

    python tools/count_memory.py remvitv2_tiny --size 800 1344 --batch-size 2
    python tools/count_memory.py remvitv2_tiny --size 800 1344 --with-cp --dtype bfloat16

Runs the backbone on PyTorch's meta device and counts the bytes of all tensors that live at the same time: in
evaluation (`inference`), and in a training step (`training`: forward, mean of squares, backward; `saved` is what is
left after its forward pass). Counted are activations and gradients, not parameters, nor what libraries take inside of
one operation. The output is JSON, in bytes, by network.
"""
import argparse
import json
import sys
import weakref

import torch
from mmengine.registry import MODELS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmvit_backbones.cli.config import UsageError, find_names
from mmvit_backbones.zoo import VARIANTS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('networks', nargs='+', help='names or shell patterns, see mmvit_backbones.list_models()')
    parser.add_argument('--size', type=int, nargs=2, default=(800, 1333), metavar=('H', 'W'), help='default: 800 1333')
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--dtype', choices=['float32', 'bfloat16', 'float16'], default='float32',
                        help='of weights and activations')
    parser.add_argument('--with-cp', action='store_true', help='recompute blocks in the backward pass')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    figures = {}
    for name in find_names(args.networks):
        with torch.device('meta'):
            images = torch.empty(args.batch_size, 3, *args.size, dtype=getattr(torch, args.dtype))
            model = MODELS.build(VARIANTS[name].model_config('backbone', with_cp=args.with_cp)).to(images.dtype)
        figures[name] = count(model, images)
    print(json.dumps(figures, indent=1))


def count(model: torch.nn.Module, images: torch.Tensor) -> dict[str, int]:
    """Bytes of a model on the meta device, by what it does."""
    with torch.no_grad(), LiveBytes() as inference:
        model.eval()(images)
    with LiveBytes() as training:
        outputs = model.train()(images)
        saved = training.bytes
        sum(out.square().mean() for out in outputs).backward()
    return dict(inference=inference.peak, saved=saved, training=training.peak)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operators have made and that still live, now and at the peak."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self.known = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        before = {storage_of(t) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and storage_of(tensor) not in before | self.known:
                self.add(tensor.untyped_storage())
        return out

    def add(self, storage: torch.UntypedStorage) -> None:
        self.known.add(storage._cdata)
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self.remove, storage._cdata, storage.nbytes())

    def remove(self, key: int, nbytes: int) -> None:
        self.known.discard(key)
        self.bytes -= nbytes


def storage_of(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


if __name__ == '__main__':
    try:
        main()
    except UsageError as error:
        sys.exit(f'error: {error}')
