# The images of coco_instance_regionvit_1x.py, evaluated with box AP only.
_base_ = './coco_instance_regionvit_1x.py'
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
