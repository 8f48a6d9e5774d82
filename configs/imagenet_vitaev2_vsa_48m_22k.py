# Published: 84.9 % top-1, 97.4 % top-5. 16 GPUs x 64 images.
_base_ = './_base_/imagenet22k_finetune_vsa.py'
pretrained = dict(checkpoint='work_dirs/imagenet_vitaev2_vsa_48m_22k_pretrain/epoch_90.pth')
model = dict(backbone=dict(arch='48m', drop_path_rate=0.25, init_cfg=pretrained), head=dict(in_channels=768))
