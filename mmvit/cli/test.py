"""Tests a checkpoint of a classifier, detector or segmenter, or an exported file.

    mmvit test work_dirs/mask_rcnn_reswin_t              # the best checkpoint of a training, with its config
    mmvit test mask_rcnn_reswin_t work_dirs/mask_rcnn_reswin_t/epoch_12.pth --data-root data/coco
    mmvit test restv2_tiny official://restv2_tiny        # published weights, beside the published figures
    mmvit test work_dirs/reswin_tiny_detector --coco-folder OTHER
"""
import os.path as osp
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from .arguments import (
    add_folder_arguments,
    add_run_arguments,
    add_size_argument,
    finite,
    given_to,
    new_parser,
    output_file,
    output_folder,
    seed,
)
from .docstrings import with_help

if TYPE_CHECKING:
    from mmengine.config import Config


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('config', metavar='RUN|CONFIG',
                        help='work dir of a training, or one of its checkpoints; or a config file, or the name of a '
                             'config in this package, or of a network for its classifier')
    parser.add_argument('checkpoint', nargs='?', metavar='CHECKPOINT',
                        help="checkpoint file, URL or official://NAME (classifiers: also in the authors' layout), or a "
                             'file written by mmvit export')
    parser.add_argument('--out', type=output_of)
    parser.add_argument('--show', action='store_true')
    parser.add_argument('--show-dir', metavar='FOLDER')
    parser.add_argument('--wait-time', type=finite(0), default=2)
    parser.add_argument('--tta', action='store_true')
    add_run_arguments(parser)
    parser.add_argument('--seed', type=seed, help='short for --cfg-options randomness.seed=SEED')
    parser.add_argument('--data-root', metavar='FOLDER')
    group = parser.add_argument_group('a network that was trained on a folder')
    add_folder_arguments(group, split=False)
    add_size_argument(group, is_square=False)
    return with_help(parser, 'configs.scripts.testing_config', 'configs.scripts.training_config',
                     'configs.scripts.shorthand_options', 'recipes.folder.fine_tune')


def output_of(path: str) -> str:
    return output_file(path) if path.endswith(('.pkl', '.pickle')) else output_folder(path)


def run(args: Namespace) -> None:
    from ..inference import Predictor, evaluate, is_exported
    from ..running import test
    from ..utils.distributed import is_first_process
    from ..utils.tables import show_metrics
    from .processes import run_together

    def go(cfg: 'Config') -> None:
        if is_exported(cfg.load_from):
            model = Predictor(cfg.load_from)
            show_metrics(evaluate(cfg, model.model.run, model.classes, cfg.load_from))
            return
        test(cfg, verbose=args.verbose)
        if args.out and is_first_process():
            print(f'predictions: {args.out}')

    run_together(args, lambda processes: prepare(args), lambda prepared: finish(args, prepared), go)


def prepare(args: Namespace) -> dict:
    """Returns the arguments of ``testing_config`` that are not options, after checking what the test will use."""
    from mmvit_backbones.zoo.checkpoints import read_checkpoint

    from ..configs.backbone import build_on_meta
    from ..configs.outputs import check_test_outputs
    from ..folders.data_set_files import check_data
    from ..inference import is_exported
    from ..recipes import other_data
    from ..running import shorthand_options
    config, source, base = find(args)
    work_dir = args.work_dir or default_work_dir(base)
    options = shorthand_options(base, **given_to(shorthand_options, args))
    if other := {name: value for name, value in given_to(other_data, args).items() if name != 'out'}:
        options |= other_data(base, **other, out=osp.join(work_dir, 'data'))
    prepared = dict(config=config, checkpoint=source, work_dir=work_dir,
                    cfg_options={**options, **(args.cfg_options or {})})
    cfg = finish(args, prepared)
    check_data(cfg, ['test'])
    check_test_outputs(cfg)
    if is_exported(source):
        check_exported(args, source)
    else:
        build_on_meta(cfg)
        read_checkpoint(cfg.load_from, mmap=True)
    return prepared


def finish(args: Namespace, prepared: dict) -> 'Config':
    from ..running import testing_config
    return testing_config(**{**given_to(testing_config, args), **prepared})


def check_exported(args: Namespace, checkpoint: str) -> None:
    """Raises an error if an exported file does not exist, or an option needs the model in PyTorch."""
    from mmvit_backbones.errors import CheckpointNotFoundError, UsageError
    from mmvit_backbones.utils.file_access import problem_of_file
    if reason := problem_of_file(checkpoint):
        raise CheckpointNotFoundError(f'{checkpoint} {reason}')
    wanted = {name: getattr(args, name) for name in ('tta', 'show', 'show_dir')}
    wanted['processes'] = args.processes or args.launcher != 'none'
    if given := [name for name, value in wanted.items() if value]:
        raise UsageError(f'--{given[0].replace("_", "-")} needs a checkpoint, got the exported file {checkpoint}')


def find(args: Namespace) -> tuple[str | None, str, 'Config']:
    """Returns the config that was named, the checkpoint or its work dir, and the config's content."""
    from mmvit_backbones.errors import UsageError
    from mmvit_backbones.zoo.reading import find_checkpoint

    from ..configs.files import config_of, is_config, path_hint, read_config
    from ..configs.official import config_of_network
    if args.checkpoint is not None:
        config = config_of_network(args.config, args.checkpoint) or args.config
        return config, args.checkpoint, read_config(config)
    if is_config(args.config) or not osp.exists(args.config):
        raise UsageError(f'{args.config} needs a CHECKPOINT: a file, a URL or official://NAME{path_hint(args.config)}')
    checkpoint = find_checkpoint(args.config)
    cfg = config_of(None, args.config, remedy=f'first: mmvit test CONFIG {checkpoint}')
    print(f'checkpoint  {checkpoint}\nconfig      {cfg.filename}', flush=True)
    return None, args.config, cfg


def default_work_dir(cfg: 'Config') -> str:
    """Returns the folder ``test`` in that of the training, whose files must not be replaced."""
    folder = osp.dirname(cfg.filename)
    if osp.exists(osp.join(folder, 'last_checkpoint')):  # the config is of a run, which may have been moved
        return osp.join(folder, 'test')
    return osp.join(cfg.get('work_dir') or osp.join('work_dirs', osp.splitext(osp.basename(cfg.filename))[0]), 'test')
