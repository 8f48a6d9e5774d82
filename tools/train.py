"""Train a detector, a segmenter or a classifier: what it is follows from the config."""
import argparse

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from mmvit_backbones.checkpoints.loading import use_safe_loading
from mmvit_backbones.cli import launch
from mmvit_backbones.cli.config import load_config
from mmvit_backbones.cli.data_check import check_data
from mmvit_backbones.cli.own_data import use_coco_folder
from mmvit_backbones.engine import AccelerateHook, CheckpointMatchHook, ExactResumeHook


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--amp', action='store_true', help='train with mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the learning rate by the real batch size over auto_scale_lr.base_batch_size')
    parser.add_argument('--coco-folder', metavar='FOLDER',
                        help='train a detector on annotations/instances_{train,val}.json with train/ and val/ in here')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='go on from this checkpoint, or from the last one in the work dir')
    launch.add_pretrained_argument(parser)
    launch.add_run_arguments(parser)
    return parser


def prepare(args: argparse.Namespace) -> Config:
    """Make the config of the run and see that all it needs is there."""
    cfg = load_config(args.config, args.cfg_options)
    launch.set_work_dir(cfg, args.work_dir)
    launch.check_launcher(args.launcher)
    if args.coco_folder:
        use_coco_folder(cfg, args.coco_folder)  # which checks them
    else:
        check_data(cfg, ['train', 'val'])
    if args.pretrained:
        cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=launch.official_weights(cfg, args.pretrained))
    launch.check_pretrained(cfg.model, launch.check_backbone(cfg))
    if args.amp:
        launch.use_amp(cfg)
    if args.auto_scale_lr:
        launch.use_auto_scale_lr(cfg)
    resumed = launch.resume_path(cfg, args.resume)
    cfg.resume = False
    if resumed:
        launch.set_resume(cfg, resumed)
    elif cfg.get('load_from'):
        launch.check_checkpoint(cfg.load_from)
    launch.use_exact_resume(cfg)
    return cfg


def main(args: argparse.Namespace) -> None:
    cfg = prepare(args)
    if args.check:
        return
    launch.init_processes(cfg, args.launcher)
    use_safe_loading()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(ExactResumeHook())
    if not args.no_accelerate:
        runner.register_hook(AccelerateHook())
    runner.register_hook(CheckpointMatchHook(cfg.get('load_from'), strict=cfg.resume))
    runner.train()
    if is_main_process():
        print(f'work dir: {runner.work_dir}')


if __name__ == '__main__':
    launch.run_script(get_parser(), main)
