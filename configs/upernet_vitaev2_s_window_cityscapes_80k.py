# Published: mIoU 80.8 after 80,000 iterations.
_base_ = './upernet_vitaev2_s_window_cityscapes.py'
param_scheduler = _base_.param_scheduler
param_scheduler[1]['end'] = 80000
train_cfg = dict(max_iters=80000)
