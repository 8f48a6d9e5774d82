_base_ = ['mmpretrain::_base_/default_runtime.py', './default_runtime.py']
