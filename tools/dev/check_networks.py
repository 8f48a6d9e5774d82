"""Compares backbones on a GPU with the CPU, and benchmarks them. Each part prints a Markdown table.

    python tools/dev/check_networks.py agreement                     one network of each class, on a GPU
    python tools/dev/check_networks.py agreement 'rest*' --device cpu --size 64

Parts:

- agreement: compares outputs and gradients in float32, in bfloat16 and under autocast with those in float32 on the CPU.
- time: times a forward and backward pass under bfloat16 autocast, with kernels, in plain PyTorch, and compiled.
- memory: measures saved activations and peak memory of a forward and backward pass under bfloat16 autocast, with
  kernels, in plain PyTorch, and with activation checkpointing.
- graphs: compares a CUDA graph of the forward pass with eager mode.
- ddp: compares the gradients of DistributedDataParallel, on one GPU and on all GPUs, with those of one process.

The environment variable MMVIT_KERNELS selects the kernels. The script requires torch and MMEngine, but not OpenMMLab.
If a network fails, the table has a row with the reason. The other networks are still checked, and the exit code is 1.
"""
import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

import mmvit_backbones
from mmvit.analysis.counters import SavedStorages
from mmvit_backbones.errors import UsageError
from mmvit_backbones.ops import plain_pytorch
from mmvit_backbones.zoo.variants import find_names

# One network of each backbone class.
NETWORKS = ('reswin_tiny', 'revit_base', 'remvitv2_tiny', 'rest_lite', 'restv2_tiny', 'regionvit_tiny', 'vitae_tiny',
            'vitaev2_small', 'vitaev2_vsa_small', 'swin_vsa_tiny', 'refiner_vit_small')
MEASURED = ('reswin_tiny', 'vitaev2_vsa_small', 'restv2_tiny', 'regionvit_small')
# Maximum deviation of outputs, relative to their norm. Rounding errors accumulate over the layers of a network.
TOLERANCES = {torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 1.5e-1}
WAYS = ('kernels', 'references', 'compiled')
Row = tuple[list[str], bool]  # cells, and whether the network passed


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('part', choices=PARTS)
    parser.add_argument('networks', nargs='*', help='names or shell patterns; default: one network of each class, '
                                                    f'but in `time` and `memory` {", ".join(MEASURED)}')
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda')
    parser.add_argument('--size', type=int, nargs='+', default=[224], metavar='SIDE',
                        help='height and width of the images in pixels, or one side of square images; default: 224')
    parser.add_argument('--batch-size', type=int, help='default: 64 in `time` and `memory`, otherwise 2')
    parser.add_argument('--ways', nargs='+', choices=WAYS, default=WAYS,
                        help='how to run the step in `time`; default: all')
    parser.add_argument('--repeats', type=int, default=10, help='number of timed runs; default: %(default)s')
    args = parser.parse_args()
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise UsageError('--device cuda requires a GPU, but torch finds none')
    if len(args.size) > 2 or min(args.size) < 1:
        raise UsageError(f'--size must be one or two positive integers, got {args.size}')
    is_measured = args.part in ('time', 'memory')
    args.networks = args.networks or (MEASURED if is_measured else NETWORKS)
    args.batch_size = args.batch_size or (64 if is_measured else 2)
    return args


def main() -> None:
    args = parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    part, columns = PARTS[args.part]
    print(f'| network | {" | ".join(columns)} |\n|{"---|" * (1 + len(columns))}', flush=True)
    failed = []
    for name in find_names(args.networks):
        for cells, is_sound in rows_of(part, name, args):
            failed += [] if is_sound else [name]
            print(f'| `{name}` | {" | ".join(cells)} |' + ('' if is_sound else ' **failed**'), flush=True)
    if failed:
        sys.exit(f'failed: {", ".join(dict.fromkeys(failed))}')


def rows_of(part: Callable, name: str, args: argparse.Namespace) -> Iterator[Row]:
    """Yields the rows of a network. An error becomes a failed row."""
    try:
        yield from part(name, args)
    except Exception as error:  # an error of any type must not stop the other networks
        message = (str(error).strip() or 'no message').splitlines()[0].replace('|', '/')
        yield [f'{type(error).__name__}: {message}'], False


# ---- helpers of the parts


def build(name: str, **overrides) -> nn.Module:
    """Builds a backbone with reproducible weights."""
    torch.manual_seed(0)
    return mmvit_backbones.get_model(name, task='backbone', drop_path_rate=0., **overrides)


def make_images(args: argparse.Namespace) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(args.batch_size, 3, args.size[0], args.size[-1], generator=generator)


def step(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Runs a forward and a backward pass and returns the outputs. The gradients stay in the parameters."""
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


def peak_of(run: Callable, device: str) -> str:
    """Returns the peak GPU memory of a call in MiB, or an empty string on a CPU."""
    if device == 'cpu':
        return ''
    torch.cuda.reset_peak_memory_stats()
    run()
    return f'{torch.cuda.max_memory_allocated() / 2**20:.0f}'


# ---- the parts


def agreement(name: str, args: argparse.Namespace) -> Iterator[Row]:
    model, images = build(name).train(), make_images(args)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # the statistics of two images would amplify deviations
    cases = [(torch.float32, False), (torch.bfloat16, False), (torch.bfloat16, True), (torch.float16, True)]
    on_device = [copy.deepcopy(model).to(args.device, torch.float32 if amp else dtype) for dtype, amp in cases]
    expected = step(model, images)
    row, is_sound = [], True
    for (dtype, amp), other in zip(cases, on_device):
        with torch.autocast(args.device, dtype, enabled=amp):
            outs = step(other, images.to(args.device, torch.float32 if amp else dtype))
        errors = deviation(outs, expected), deviation(gradients(other), gradients(model))
        # Small gradients in float16 underflow without loss scaling, so that their limit is only a rough check.
        limit = TOLERANCES[dtype]
        is_sound &= errors[0] <= limit and errors[1] <= (1 if dtype == torch.float16 else 3 * limit)
        row.append(f'{errors[0]:.1e}, {errors[1]:.1e}')
    yield row, is_sound


def timed(name: str, args: argparse.Namespace) -> Iterator[Row]:
    """Times a step in several ways, and checks that their outputs agree.

    Gradients are compared but not checked, because batch norm amplifies their deviations.
    """
    images, expected = make_images(args).to(args.device), None
    for way in args.ways:
        model = build(name).to(args.device).train()
        network = model
        if way == 'compiled':
            torch._dynamo.reset()
            # Inductor takes minutes on a CPU, where this part is only a test of the script.
            network = torch.compile(model, backend='inductor' if args.device == 'cuda' else 'aot_eager')

        def run() -> list[Tensor]:
            model.zero_grad(set_to_none=True)
            with torch.autocast(args.device, torch.bfloat16):
                return step(network, images)

        with plain_pytorch() if way == 'references' else nullcontext():
            start = time.perf_counter()
            outs = run()
            synchronize(args.device)
            first = time.perf_counter() - start
            found = outs, gradients(model)
            expected = expected or found
            errors = [deviation(a, e) for a, e in zip(found, expected)]
            milliseconds = median(run, args)
            peak = peak_of(run, args.device)
        yield [way, f'{first:.1f}', f'{milliseconds:.1f}', f'{1e3 * args.batch_size / milliseconds:.0f}', peak,
               f'{errors[0]:.1e}, {errors[1]:.1e}'], errors[0] <= TOLERANCES[torch.bfloat16]


def median(run: Callable, args: argparse.Namespace) -> float:
    """Returns the median time of a call in ms."""
    seconds, warm_up = [], min(args.repeats, 3)
    for number in range(warm_up + args.repeats):
        synchronize(args.device)
        start = time.perf_counter()
        run()
        synchronize(args.device)
        if number >= warm_up:
            seconds.append(time.perf_counter() - start)
    return 1e3 * sorted(seconds)[len(seconds) // 2]


def memory(name: str, args: argparse.Namespace) -> Iterator[Row]:
    images = make_images(args).to(args.device)
    for way in ('kernels', 'references', 'with_cp'):
        model = build(name, with_cp=way == 'with_cp').to(args.device).train()

        def run() -> None:
            model.zero_grad(set_to_none=True)
            with torch.autocast(args.device, torch.bfloat16):
                step(model, images)

        with plain_pytorch() if way == 'references' else nullcontext():
            run()  # compiles the kernels
            peak = peak_of(run, args.device)
            with torch.autocast(args.device, torch.bfloat16), SavedStorages(model, images) as saved:
                model(images)
        yield [way, f'{saved.num_bytes / 2**20:.0f}', peak], True


def cuda_graph(name: str, args: argparse.Namespace) -> Iterator[Row]:
    """Captures a forward pass in a CUDA graph, and replays the graph with other images."""
    model, images = build(name).to(args.device).eval(), make_images(args).to(args.device)
    with torch.no_grad():
        expected = [out.clone() for out in model(images)]  # compiles the kernels
        recorded = torch.zeros_like(images)
        if args.device == 'cuda':
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                model(recorded)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                outs = model(recorded)
            recorded.copy_(images)
            graph.replay()
            torch.cuda.synchronize()
        else:  # CPUs have no CUDA graphs
            outs = model(recorded.copy_(images))
    error = deviation(list(outs), expected)
    yield [f'{error:.1e}'], error <= TOLERANCES[torch.float32]


def distributed(name: str, args: argparse.Namespace) -> Iterator[Row]:
    for world in sorted({1, torch.cuda.device_count()} if args.device == 'cuda' else {2}):
        with tempfile.TemporaryDirectory() as folder:
            torch.multiprocessing.spawn(ddp_process, (world, folder, name, args), nprocs=world)
            error = float(Path(folder, 'error').read_text())
        yield [str(world), f'{error:.1e}'], error <= TOLERANCES[torch.float32]


def ddp_process(rank: int, world: int, folder: str, name: str, args: argparse.Namespace) -> None:
    """Compares the gradients of a DDP step on part of a batch with those of one process on the whole batch.

    Rank 0 writes the deviation to the file ``error`` in ``folder``.
    """
    dist.init_process_group('nccl' if args.device == 'cuda' else 'gloo', init_method=f'file://{folder}/store',
                            rank=rank, world_size=world)
    device = torch.device('cuda', rank) if args.device == 'cuda' else torch.device('cpu')
    if args.device == 'cuda':
        torch.cuda.set_device(rank)
    model = build(name).to(device).eval()  # batch statistics would differ between the parts
    images = torch.cat([make_images(args)] * world).to(device)
    step(model, images)
    expected = [grad.clone() for grad in gradients(model)]
    model.zero_grad(set_to_none=True)
    # In some networks, the returned maps don't depend on all parameters.
    parallel = nn.parallel.DistributedDataParallel(model, device_ids=[rank] if args.device == 'cuda' else None,
                                                   find_unused_parameters=True)
    step(parallel, images.chunk(world)[rank])
    if rank == 0:
        Path(folder, 'error').write_text(str(deviation(gradients(model), expected)))
    dist.barrier()
    dist.destroy_process_group()


PARTS = {
    'agreement': (agreement, ['float32: outputs, gradients', 'bfloat16', 'autocast, bfloat16', 'autocast, float16']),
    'time': (timed, ['way', 'first step, s', 'step, ms', 'images/s', 'peak, MiB',
                     'deviation from the first way: outputs, gradients']),
    'memory': (memory, ['way', 'saved, MiB', 'peak, MiB']),
    'graphs': (cuda_graph, ['outputs']),
    'ddp': (distributed, ['processes', 'gradients']),
}

if __name__ == '__main__':
    try:
        main()
    except UsageError as error:
        sys.exit(f'error: {error}')
