"""Train a detector, a segmenter or a classifier: what it is follows from the config."""
import argparse
import os

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from mmvit_backbones.checkpoints.loading import use_safe_loading
from mmvit_backbones.cli import launch
from mmvit_backbones.cli.config import load_config
from mmvit_backbones.cli.data_check import check_data
from mmvit_backbones.cli.memory import explained_shortage
from mmvit_backbones.cli.own_data import use_coco_folder
from mmvit_backbones.cli.resume import resume_path, set_resume
from mmvit_backbones.cli.work_dir import lock_work_dir, set_work_dir
from mmvit_backbones.engine import AccelerateHook, CheckpointMatchHook
from mmvit_backbones.engine.bad_data import POLICIES

NEEDS = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--amp', action='store_true', help='train with mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the learning rate by the real batch size over auto_scale_lr.base_batch_size')
    parser.add_argument('--batch-size', type=int, help='images per process and step (default: as in the config)')
    parser.add_argument('--coco-folder', metavar='FOLDER',
                        help='train a detector on annotations/instances_{train,val}.json with train/ and val/ in here')
    parser.add_argument('--on-bad-data', choices=POLICIES,
                        help='what an unreadable sample does: stop the training (default), or skip the sample')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='go on from this checkpoint, or from the newest intact one in the work dir')
    launch.add_run_arguments(parser)
    return parser


def prepare(args: argparse.Namespace) -> Config:
    """Make the config of the run and see that all it needs is there."""
    cfg = load_config(args.config, args.cfg_options, NEEDS, launch.use_reliable_hooks)
    set_work_dir(cfg, args.work_dir)
    launch.check_launcher(args.launcher)
    if args.coco_folder:
        use_coco_folder(cfg, args.coco_folder)  # which checks them
    else:
        check_data(cfg, ['train', 'val'])
    launch.check_pretrained(cfg.model, launch.check_backbone(cfg))
    if args.amp:
        launch.use_amp(cfg)
    if args.auto_scale_lr:
        launch.use_auto_scale_lr(cfg)
    launch.drop_unwanted_hooks(cfg)
    if args.batch_size is not None:
        launch.set_batch_size(cfg, args.batch_size)
    if args.on_bad_data:
        cfg.merge_from_dict({'default_hooks.bad_data': dict(type='BadDataHook', policy=args.on_bad_data)})
    resumed = resume_path(cfg, args.resume)
    cfg.resume = False
    if resumed:
        set_resume(cfg, resumed)
    elif cfg.get('load_from'):
        launch.check_checkpoint(cfg.load_from)
    return cfg


def main(args: argparse.Namespace) -> None:
    cfg = prepare(args)
    if args.check:
        return
    lock = lock_work_dir(cfg.work_dir) if os.environ.get('RANK', '0') == '0' else None
    launch.init_processes(cfg, args.launcher)
    use_safe_loading()
    runner = Runner.from_cfg(cfg)
    if not args.no_accelerate:
        runner.register_hook(AccelerateHook())
    runner.register_hook(CheckpointMatchHook(cfg.get('load_from'), strict=cfg.resume))
    with explained_shortage(runner):
        runner.train()
    if lock:
        lock.close()
    if is_main_process():
        print(f'work dir: {runner.work_dir}')


if __name__ == '__main__':
    launch.run_script(get_parser(), main)
