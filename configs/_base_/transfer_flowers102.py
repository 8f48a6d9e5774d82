# Oxford Flowers-102 in data/Flowers102, with the files that mmpretrain's Flowers102 describes. Training uses the
# training and validation images.
_base_ = './transfer.py'
data_preprocessor = dict(num_classes=102)
model = dict(head=dict(num_classes=102))
dataset = dict(type='Flowers102', data_root='data/Flowers102')
train_dataloader = dict(dataset=dict(split='trainval', **dataset))
val_dataloader = dict(dataset=dict(split='test', **dataset))
test_dataloader = val_dataloader
