# Stanford Cars in data/Stanford_Cars, with the files that mmpretrain's StanfordCars describes.
_base_ = './transfer.py'
data_preprocessor = dict(num_classes=196)
model = dict(head=dict(num_classes=196))
dataset = dict(type='StanfordCars', data_root='data/Stanford_Cars')
train_dataloader = dict(dataset=dict(split='train', **dataset))
val_dataloader = dict(dataset=dict(split='test', **dataset))
test_dataloader = val_dataloader
