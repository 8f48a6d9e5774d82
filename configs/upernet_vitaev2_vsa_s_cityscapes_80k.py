# Published without code: mIoU 82.2 after 80,000 iterations.
_base_ = './upernet_vitaev2_vsa_s_cityscapes.py'
param_scheduler = _base_.param_scheduler
param_scheduler[1]['end'] = 80000
train_cfg = dict(max_iters=80000)
