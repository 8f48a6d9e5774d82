# Published: mIoU 81.6 after 80,000 iterations, with crops of 769 x 769 pixels (multi-scale and flip: 82.5).
_base_ = './upernet_swin_vsa_t_cityscapes_769.py'
param_scheduler = _base_.param_scheduler
param_scheduler[1]['end'] = 80000
train_cfg = dict(max_iters=80000)
