# For mmvit test: next to the usual accuracy, that by ImageNet's reassessed labels (published: 87.6 %). Fetch
# real.json of github.com/google-research/reassessed-imagenet. The same evaluator serves every network.
_base_ = './imagenet_vitaev2_s.py'
val_evaluator = [
    dict(type='Accuracy', topk=(1, 5)),
    dict(type='ImageNetReaL', label_file='data/imagenet/real.json', topk=(1, )),
]
test_evaluator = val_evaluator
