#!/usr/bin/env python3
"""Writes a golden: what the authors' network computes with generated weights, for tests/test_goldens.py.

    python tools/dev/make_golden.py authors/model.py:small restv2_small --hooks stage1=stages.0 stage2=stages.1
    python tools/dev/make_golden.py timm:poolformer_s12 poolformer_s12 --hooks stage1=stages.0 stage2=stages.1

The weights are generated from the names in the published checkpoints. tests/goldens/golden.py has the format.
"""
import argparse
import json
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

GOLDENS = Path(__file__).resolve().parents[2] / 'tests/goldens'
FORMAT = SimpleNamespace(**runpy.run_path(str(GOLDENS / 'golden.py')))


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', help='timm:NAME, or FILE.py:FUNCTION, which returns the classifier without arguments')
    parser.add_argument('variant', help='name of the network in this package')
    parser.add_argument('--hooks', nargs='+', default=[], metavar='NAME=MODULE', type=pair,
                        help='outputs to record: stage1 to stage4, and the modules that return them')
    parser.add_argument('--channels-last', action='store_true', help='these modules return (B, H, W, C), not NCHW')
    parser.add_argument('--rename', nargs='+', default=[], metavar='PATTERN=NAME', type=pair,
                        help='regular expressions that turn names of weights into those in the published checkpoints')
    parser.add_argument('--sizes', nargs='+', default=[(224, 224)], metavar='HEIGHTxWIDTH', type=size,
                        help='of the images; default: 224x224')
    parser.add_argument('--source', default='', help='what was run, as owner/name@commit')
    parser.add_argument('--out', type=Path, help='default: VARIANT/golden_VARIANT.json in the tests of goldens')
    return parser


def pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition('=')
    if not separator:
        raise argparse.ArgumentTypeError(f'must be NAME=VALUE, got {text!r}')
    return name, value


def size(text: str) -> tuple[int, int]:
    if not re.fullmatch(r'[1-9]\d*x[1-9]\d*', text):
        raise argparse.ArgumentTypeError(f'must be HEIGHTxWIDTH, such as 224x224, got {text!r}')
    height, width = text.split('x')
    return int(height), int(width)


def main() -> None:
    args = get_parser().parse_args()
    golden = make_golden(build(args.model), args.variant, dict(args.hooks), args.rename, args.sizes, args.channels_last)
    golden['source'] = args.source or args.model
    out = args.out or GOLDENS / args.variant / f'golden_{args.variant}.json'
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(golden), encoding='utf-8')
    print(f'{out}: {golden["num_params"]} parameters')


def build(name: str) -> nn.Module:
    """Returns the network of ``timm:NAME`` or ``FILE.py:FUNCTION``."""
    if name.startswith('timm:'):
        import timm
        return timm.create_model(name.removeprefix('timm:'))
    file, _, function = name.rpartition(':')
    if not Path(file).is_file():
        sys.exit(f'error: model must be timm:NAME or FILE.py:FUNCTION, got {name!r}')
    sys.path.insert(0, str(Path(file).resolve().parent))
    found = runpy.run_path(file)
    if function not in found:
        sys.exit(f'error: {file} has no {function}')
    return found[function]()


@torch.no_grad()
def make_golden(model: nn.Module, variant: str, hooks: dict[str, str], renames: list[tuple[str, str]],
                sizes: list[tuple[int, int]], channels_last: bool) -> dict:
    """Returns the golden of a classifier: its logits and the outputs of modules, in float64."""
    model = model.double().eval()
    own = model.state_dict()
    names = {key: rename(key, renames) for key in own}
    if len(set(names.values())) < len(names):
        sys.exit('error: --rename gives two weights the same name')
    shapes = {names[key]: list(x.shape) for key, x in own.items()}
    filled = FORMAT.fill_state_dict(shapes)
    model.load_state_dict({key: filled.get(name, own[key]) for key, name in names.items()})
    recorded: dict[str, Tensor] = {}
    for name, module in hooks.items():
        if module not in dict(model.named_modules()):
            top = ', '.join(child for child, _ in model.named_children())
            sys.exit(f'error: --hooks: the model has no module {module!r}; it has {top}')
        model.get_submodule(module).register_forward_hook(
            lambda *args, name=name: recorded.__setitem__(name, as_map(name, args[-1], channels_last)))
    inputs = []
    for size in sizes:
        recorded.clear()
        shape = (2, 3, *size)
        logits = model(FORMAT.make_input(shape))
        if unused := [module for name, module in hooks.items() if name not in recorded]:
            sys.exit(f'error: --hooks: the model does not call {", ".join(unused)}')
        outputs = {**{name: recorded[name] for name in hooks}, 'logits': logits}
        digests = {name: FORMAT.digest(x) for name, x in outputs.items()}
        inputs.append(dict(shape=shape, seed=0, call='classify', outputs=digests))
    return dict(variant=variant, overrides={}, dtype='float64', rtol=1e-6,
                num_params=sum(p.numel() for p in model.parameters()), state_dict=shapes, inputs=inputs)


def rename(key: str, renames: list[tuple[str, str]]) -> str:
    for pattern, replacement in renames:
        key = re.sub(pattern, replacement, key)
    return key


def as_map(name: str, output: object, channels_last: bool) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim != 4:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        sys.exit(f'error: --hooks: {name} must return a map of four dimensions, got {got}; wrap the model in FUNCTION')
    return output.permute(0, 3, 1, 2) if channels_last else output


if __name__ == '__main__':
    main()
