# Oxford-IIIT Pets in data/Oxford-IIIT_Pets, with the files that mmpretrain's OxfordIIITPet describes.
_base_ = './transfer.py'
data_preprocessor = dict(num_classes=37)
model = dict(head=dict(num_classes=37))
dataset = dict(type='OxfordIIITPet', data_root='data/Oxford-IIIT_Pets')
train_dataloader = dict(dataset=dict(split='trainval', **dataset))
val_dataloader = dict(dataset=dict(split='test', **dataset))
test_dataloader = val_dataloader
