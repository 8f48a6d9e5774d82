# CIFAR-100 in data/cifar100/cifar-100-python. The images are RGB, have 32 x 32 pixels and are not stored as image
# files.
_base_ = './transfer.py'
train_pipeline, test_pipeline = _base_.train_pipeline[1:], _base_.test_pipeline[1:]
data_preprocessor = dict(num_classes=100, to_rgb=False)
model = dict(head=dict(num_classes=100))
dataset = dict(type='CIFAR100', data_root='data/cifar100')
train_dataloader = dict(dataset=dict(split='train', pipeline=train_pipeline, **dataset))
val_dataloader = dict(dataset=dict(split='test', pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader
