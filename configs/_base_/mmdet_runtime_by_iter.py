# For training by iterations instead of epochs.
_base_ = './mmdet_runtime.py'
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=10000))
log_processor = dict(by_epoch=False)
