"""Compares the backbones on a GPU with the CPU, and times them; each part prints a table in Markdown.

    python tools/dev/check_networks.py agreement                     one network of each kind, on the GPU
    python tools/dev/check_networks.py agreement 'rest*' --device cpu --size 64

Parts: `agreement` (float32, bfloat16 and autocast against float32 on the CPU: outputs, gradients, memory), `compile`
(torch.compile), `graphs` (a CUDA graph of the forward pass), `ddp` (a step on one and on all GPUs by NCCL against one
process), `time` (milliseconds next to plain PyTorch and timm's Swin-T). Needs torch and MMEngine, not OpenMMLab. A
network that fails has a row with the reason; the others are still checked, and the exit code is 1.
"""
import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

import mmvit_backbones
from mmvit_backbones.errors import UsageError
from mmvit_backbones.ops.dispatch import plain_pytorch
from mmvit_backbones.zoo.variants import find_names

NETWORKS = ('reswin_tiny', 'revit_base', 'remvitv2_tiny', 'rest_lite', 'restv2_tiny', 'regionvit_tiny', 'vitae_tiny',
            'vitaev2_small', 'vitaev2_vsa_small', 'swin_vsa_tiny', 'refiner_vit_small')
# Largest deviation of outputs and gradients by norm: of networks, whose layers add up what operators round.
TOLERANCES = {torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 1.5e-1}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('part', choices=PARTS)
    parser.add_argument('networks', nargs='*', default=NETWORKS, help='names or shell patterns')
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda')
    parser.add_argument('--size', type=int, nargs='+', default=[224], metavar='SIDE', help='default: 224')
    parser.add_argument('--batch-size', type=int, help='default: 2; for `time` 64')
    parser.add_argument('--repeats', type=int, default=10, help='timings of each; default: %(default)s')
    args = parser.parse_args()
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise UsageError('--device cuda needs a GPU, and torch sees none')
    if len(args.size) > 2 or min(args.size) < 1:
        raise UsageError(f'--size takes one or two sides of at least 1, got {args.size}')
    args.batch_size = args.batch_size or (64 if args.part == 'time' else 2)
    return args


def main() -> None:
    args = parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    part, columns = PARTS[args.part]
    print(f'| network | {" | ".join(columns)} |\n|{"---|" * (1 + len(columns))}', flush=True)
    names, failed = find_names(args.networks), []
    if args.part == 'time':
        names = [*names, 'timm']
    for name in names:
        try:
            row, is_sound = part(name, args)
        except Exception as error:  # whatever a driver or a compiler raises: the other networks are to be checked
            told = (str(error).strip() or 'no message').splitlines()[0].replace('|', '/')
            row, is_sound = [f'{type(error).__name__}: {told}'], False
        failed += [] if is_sound else [name]
        print(f'| `{name}` | {" | ".join(row)} |' + ('' if is_sound else ' **failed**'), flush=True)
    if failed:
        sys.exit(f'failed: {", ".join(failed)}')


# ---- what the parts share


def build(name: str) -> nn.Module:
    """Builds a backbone with reproducible weights."""
    torch.manual_seed(0)
    if name == 'timm':
        import timm
        return timm.create_model('swin_tiny_patch4_window7_224', features_only=True, strict_img_size=False)
    return mmvit_backbones.get_model(name, task='backbone', drop_path_rate=0.)


def make_images(args: argparse.Namespace) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(args.batch_size, 3, args.size[0], args.size[-1], generator=generator)


def step(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Runs a training step and returns the outputs; the parameters keep the gradients."""
    outs = model(images)
    sum(out.float().square().mean() for out in outs).backward()
    return [out.detach() for out in outs]


def deviation(actual: list[Tensor], expected: list[Tensor]) -> float:
    """Returns the relative norm of the difference of two lists of tensors."""
    pairs = [(a.double().cpu(), e.double().cpu()) for a, e in zip(actual, expected, strict=True)]
    return (sum((a - e).square().sum() for a, e in pairs) / sum(e.square().sum() for _, e in pairs)).sqrt().item()


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


def synchronize(device: str) -> None:
    if device == 'cuda':
        torch.cuda.synchronize()


# ---- the parts


def agreement(name: str, args: argparse.Namespace) -> tuple[list[str], bool]:
    model, images = build(name).train(), make_images(args)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # statistics of two images would multiply every deviation
    cases = [(torch.float32, False), (torch.bfloat16, False), (torch.bfloat16, True), (torch.float16, True)]
    on_device = [copy.deepcopy(model).to(args.device, torch.float32 if amp else dtype) for dtype, amp in cases]
    expected = step(model, images)
    row, is_sound = [], True
    for (dtype, amp), other in zip(cases, on_device):
        if args.device == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        with torch.autocast(args.device, dtype, enabled=amp):
            outs = step(other, images.to(args.device, torch.float32 if amp else dtype))
        errors = deviation(outs, expected), deviation(gradients(other), gradients(model))
        # float16 without a scaled loss loses small gradients: they need only be numbers.
        limit = TOLERANCES[dtype]
        is_sound &= errors[0] <= limit and errors[1] <= (1 if dtype == torch.float16 else 3 * limit)
        row.append(f'{errors[0]:.1e}, {errors[1]:.1e}')
    peak = f'{torch.cuda.max_memory_allocated() / 2**20:.0f}' if args.device == 'cuda' else ''
    return [*row, peak], is_sound


def compiled(name: str, args: argparse.Namespace) -> tuple[list[str], bool]:
    model, images = build(name).to(args.device).eval(), make_images(args).to(args.device)
    row, is_sound = [], True
    for train in (False, True):
        torch._dynamo.reset()
        model.train(train).zero_grad()
        with torch.set_grad_enabled(train):
            run = step if train else lambda model, images: list(model(images))
            expected = run(model, images)
            grads = gradients(model)
            model.zero_grad(set_to_none=True)
            start = time.perf_counter()
            actual = run(torch.compile(model), images)
            synchronize(args.device)
            seconds = time.perf_counter() - start
        error = max(deviation(actual, expected), deviation(gradients(model), grads) if train else 0.)
        is_sound &= error <= TOLERANCES[torch.float32]
        row += [f'{error:.1e}', f'{seconds:.0f}']
    return row, is_sound


def cuda_graph(name: str, args: argparse.Namespace) -> tuple[list[str], bool]:
    if args.device == 'cpu':
        return ['not on a CPU'], True
    model, images = build(name).cuda().eval(), make_images(args).cuda()
    with torch.no_grad():
        expected = [out.clone() for out in model(images)]  # checks and compiles the kernels
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            model(images)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outs = model(images)
        graph.replay()
    torch.cuda.synchronize()
    error = deviation(list(outs), expected)
    return [f'{error:.1e}'], error <= TOLERANCES[torch.float32]


def distributed(name: str, args: argparse.Namespace) -> tuple[list[str], bool]:
    row, is_sound = [], True
    for world in sorted({1, torch.cuda.device_count() if args.device == 'cuda' else 2}):
        with tempfile.TemporaryDirectory() as folder:
            torch.multiprocessing.spawn(ddp_process, (world, folder, name, args), nprocs=world)
            error = float(Path(folder, 'error').read_text())
        is_sound &= error <= TOLERANCES[torch.float32]
        row.append(f'{world}: {error:.1e}')
    return [', '.join(row)], is_sound


def ddp_process(rank: int, world: int, folder: str, name: str, args: argparse.Namespace) -> None:
    """Runs a step on a part of the batch; its mean gradients are those of all images in one process."""
    dist.init_process_group('nccl' if args.device == 'cuda' else 'gloo', init_method=f'file://{folder}/store',
                            rank=rank, world_size=world)
    device = torch.device('cuda', rank) if args.device == 'cuda' else torch.device('cpu')
    if args.device == 'cuda':
        torch.cuda.set_device(rank)
    model = build(name).to(device).eval()  # batch norm by stored statistics: of parts they would differ
    images = torch.cat([make_images(args)] * world).to(device)
    step(model, images)
    expected = [grad.clone() for grad in gradients(model)]
    model.zero_grad(set_to_none=True)
    # Some networks take gradients for all parameters only where all outputs are used.
    parallel = nn.parallel.DistributedDataParallel(model, device_ids=[rank] if args.device == 'cuda' else None,
                                                   find_unused_parameters=True)
    step(parallel, images.chunk(world)[rank])
    if rank == 0:
        Path(folder, 'error').write_text(str(deviation(gradients(model), expected)))
    dist.barrier()
    dist.destroy_process_group()


def timed(name: str, args: argparse.Namespace) -> tuple[list[str], bool]:
    """Times the default backends and plain PyTorch."""
    row = []
    for backends in (nullcontext(), plain_pytorch()):
        with backends:
            for dtype in (torch.bfloat16, torch.float32):
                row += times(build(name).to(args.device, dtype), make_images(args).to(args.device, dtype), args)
    return row, True


def times(model: nn.Module, images: Tensor, args: argparse.Namespace) -> list[str]:
    """Returns the medians of forward and of a step in ms, and the peak memory of a step in MiB."""
    def forward() -> None:
        with torch.no_grad():
            model.eval()(images)

    def train() -> None:
        model.train().zero_grad(set_to_none=True)
        step(model, images)

    row = [f'{median(function, args):.1f}' for function in (forward, train)]
    if args.device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        train()
        row.append(f'{torch.cuda.max_memory_allocated() / 2**20:.0f}')
    return [' / '.join(row)]


def median(function: Callable, args: argparse.Namespace) -> float:
    seconds = []
    for number in range(args.repeats + min(args.repeats, 3)):
        synchronize(args.device)
        start = time.perf_counter()
        function()
        synchronize(args.device)
        if number >= min(args.repeats, 3):  # before that, kernels are compiled and caches filled
            seconds.append(time.perf_counter() - start)
    return 1e3 * sorted(seconds)[len(seconds) // 2]


PARTS = {
    'agreement': (agreement, ['float32: outputs, gradients', 'bfloat16', 'autocast, bfloat16', 'autocast, float16',
                              'peak of the last, MiB']),
    'compile': (compiled, ['forward', 'seconds', 'step', 'seconds']),
    'graphs': (cuda_graph, ['forward']),
    'ddp': (distributed, ['processes: gradients']),
    'time': (timed, ['bfloat16: forward / step, ms / peak, MiB', 'float32', 'plain PyTorch, bfloat16',
                     'plain PyTorch, float32']),
}

if __name__ == '__main__':
    try:
        main()
    except UsageError as error:
        sys.exit(f'error: {error}')
