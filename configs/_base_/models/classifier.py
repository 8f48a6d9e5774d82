# The mean of the last map and a linear layer, label smoothing 0.1. The layer starts as the authors' (all networks' but
# ReSwin's): truncated normal with deviation 0.02.
model = dict(
    type='ImageClassifier',
    backbone=dict(out_indices=3),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
        cal_acc=False))
