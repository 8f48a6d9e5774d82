# COCO 2017, boxes and masks, 8 GPUs x 2 images.
_base_ = 'mmdet::_base_/datasets/coco_instance.py'
train_dataloader = dict(persistent_workers=False)  # a resumed run seeds its workers again in each epoch
