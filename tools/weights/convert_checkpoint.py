"""Converts an authors' checkpoint to ours: `backbone.*` and `head.fc.*`, mmpretrain's names of a classifier's weights,
or mmdet's and mmseg's names for detectors and segmenters.

In mmdet and mmseg, use `init_cfg=dict(type='Pretrained', checkpoint=OUT, prefix='backbone.')`.
"""
import argparse
import sys
from pathlib import Path

import torch

from mmvit_backbones.zoo.loading import TASKS, convert_state_dict, read_checkpoint

sys.path.append(str(Path(__file__).resolve().parents[1]))
from common.command_line import output_file  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('input', help="the authors' file, or its address")
    parser.add_argument('output', type=output_file, help='file to write: .pth, or .safetensors')
    parser.add_argument('--model', help='variant, e.g. reswin_tiny (default: recognized by the keys)')
    parser.add_argument('--task', choices=TASKS, default=TASKS[0], help="'backbone' leaves the classifier out")
    return parser.parse_args()


def save(state_dict: dict, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == '.safetensors':
        from safetensors.torch import save_file
        save_file({key: value.contiguous() for key, value in state_dict.items()}, output)
    else:
        torch.save(dict(state_dict=state_dict, meta={}), output)


def main() -> None:
    args = parse_args()
    state_dict = convert_state_dict(args.model, read_checkpoint(args.input), args.task)
    save(state_dict, Path(args.output))
    print(f'{args.output}: {len(state_dict)} tensors, {sum(t.numel() for t in state_dict.values()):,} elements')


if __name__ == '__main__':
    try:
        main()
    except KeyError as error:
        sys.exit(f'error: {sys.argv[1]}: {error.args[0]}')
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
