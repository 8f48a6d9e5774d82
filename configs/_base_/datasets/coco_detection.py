# COCO 2017 with boxes only, for 8 GPUs x 2 images. Test-time augmentation is that of mmdet's RetinaNet.
_base_ = ['mmdet::_base_/datasets/coco_detection.py', 'mmdet::retinanet/retinanet_tta.py']
val_evaluator = dict(classwise=True)  # AP per class
test_evaluator = val_evaluator
