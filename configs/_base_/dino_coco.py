# mmdet's DINO with four scales, 12 epochs, for any backbone; model, data and schedule are in one file there. Strides 8
# to 32 and one made from the last; AdamW 1e-4, a tenth of it for the backbone, for 8 GPUs x 2 images.
_base_ = ['mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', './default_runtime.py']
model = dict(backbone=dict(_delete_=True, out_indices=(1, 2, 3)))
train_dataloader = dict(persistent_workers=False)  # a resumed run seeds its workers again in each epoch
