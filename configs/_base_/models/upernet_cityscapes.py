# UperNet for the classes of Cityscapes, with crops of 512 x 1024 pixels.
_base_ = './upernet.py'
model = dict(
    data_preprocessor=dict(size=(512, 1024)), decode_head=dict(num_classes=19), auxiliary_head=dict(num_classes=19))
