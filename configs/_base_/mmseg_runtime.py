# Copied from mmseg, because MMEngine does not find mmseg's base files (mmseg::) if the fork of mmseg is installed. The
# schedules set the hooks, as in mmseg.
_base_ = './default_runtime.py'
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
visualizer = dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
