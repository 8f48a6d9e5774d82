# A linear layer on the mean of the last map, with label smoothing 0.1. As in the authors' code, except ReSwin's, the
# layer is initialized by a truncated normal distribution with standard deviation 0.02.
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
