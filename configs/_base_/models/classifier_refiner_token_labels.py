# Refiner-ViT with token labels; patches are mixed between images.
_base_ = './classifier_refiner.py'
model = dict(
    backbone=dict(mix_tokens=True),
    head=dict(
        dense=True, loss=dict(_delete_=True, type='CrossEntropyLoss', use_soft=True), map_loss=dict(num_pairs=12)))
