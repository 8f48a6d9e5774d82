_base_ = ['mmdet::_base_/default_runtime.py', './default_runtime.py']
# Checkpoints are written as a whole and at SIGTERM; training stops if the loss is not finite.
default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=3, save_best='auto', backend_args=dict(backend='atomic')),
    finite_loss=dict(type='FiniteLossHook'),
    interrupt=dict(type='InterruptHook'))
