# COCO 2017 with boxes and masks, for 8 GPUs x 2 images.
_base_ = 'mmdet::_base_/datasets/coco_instance.py'
val_evaluator = dict(classwise=True)  # AP per class
test_evaluator = val_evaluator
