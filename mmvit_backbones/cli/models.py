"""Lists the networks with the classifier's parameters and multiply-adds, published accuracy and available weights."""
import argparse
import json

from ..errors import UsageError
from ..zoo.variants import VARIANTS, Variant, list_models
from .weights.list import state_of


def main(args: argparse.Namespace) -> None:
    names = list_models(args.pattern)
    if not names:
        raise UsageError(f'no network matches {args.pattern}; available networks are {", ".join(list_models())}')
    rows = [facts(VARIANTS[name]) for name in names]
    print(json.dumps(rows, indent=1) if args.json else table(rows))


def facts(variant: Variant) -> dict:
    weights = {tag: state_of(file).replace('missing', 'download') for tag, file in variant.weights.items()}
    return dict(name=variant.name, parameters=variant.num_params, gmacs=variant.gmacs, image_size=variant.img_size,
                top1=variant.top1, weights=weights)


def table(rows: list[dict]) -> str:
    lines = [f'{"network":<24}{"parameters, M":>14}{"GMACs":>8}{"image":>7}{"top-1, %":>10}  weights']
    for row in rows:
        states = dict.fromkeys(row['weights'].values())
        weights = '; '.join(f'{state}: {", ".join(tag for tag, other in row["weights"].items() if other == state)}'
                            for state in states) or '-'
        lines.append(f'{row["name"]:<24}{row["parameters"] / 1e6:>14.1f}{row["gmacs"]:>8.2f}{row["image_size"]:>7}'
                     f'{row["top1"] or "-":>10}  {weights}')
    return '\n'.join(lines)
