# The mean of the last map and a linear layer, label smoothing 0.1.
model = dict(
    type='ImageClassifier',
    backbone=dict(out_indices=3),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        cal_acc=False))
