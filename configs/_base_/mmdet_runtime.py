_base_ = ['mmdet::_base_/default_runtime.py', './default_runtime.py', './reliable_hooks.py']
default_hooks = {{_base_.reliable_hooks}}
