# COCO 2017, boxes only, 8 GPUs x 2 images; --tta as mmdet's RetinaNet.
_base_ = ['mmdet::_base_/datasets/coco_detection.py', 'mmdet::retinanet/retinanet_tta.py']
train_dataloader = dict(persistent_workers=False)  # a resumed run seeds its workers again in each epoch
