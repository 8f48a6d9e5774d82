# For mmvit test: in addition to the usual accuracy, evaluates the accuracy for ImageNet's reassessed labels (published:
# 87.6 %). Download real.json from github.com/google-research/reassessed-imagenet. This evaluator works for every
# network.
_base_ = './imagenet_vitaev2_s.py'
val_evaluator = [
    dict(type='Accuracy', topk=(1, 5)),
    dict(type='ImageNetReaL', label_file='data/imagenet/real.json', topk=(1, )),
]
test_evaluator = val_evaluator
