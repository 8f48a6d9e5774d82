# Oxford Flowers-102: training and validation images train, in data/Flowers102, as mmpretrain's Flowers102 describes it.
_base_ = './transfer.py'
data_preprocessor = dict(num_classes=102)
model = dict(head=dict(num_classes=102))
dataset = dict(type='Flowers102', data_root='data/Flowers102')
train_dataloader = dict(dataset=dict(split='trainval', **dataset))
val_dataloader = dict(dataset=dict(split='test', **dataset))
test_dataloader = val_dataloader
