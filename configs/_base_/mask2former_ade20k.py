# mmseg's Mask2Former on ADE20K, with modules of mmdet: crops of 512 x 512 pixels, 160,000 iterations, 8 GPUs x 2
# images. As in mmseg's config for Swin-T, the backbone has a tenth of the learning rate, and its norms and relative
# position bias tables have no weight decay.
_base_ = ['./datasets/ade20k.py', './schedules/ade20k_160k.py', './mmseg_runtime.py']
custom_imports = dict(imports=['mmvit_backbones', 'mmdet.models'])
train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(
    type='RandomChoiceResize', scales=[int(51.2 * x) for x in range(5, 21)], resize_type='ResizeShortestEdge',
    max_size=2048)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
num_classes = 150
attention = dict(embed_dims=256, num_heads=8, batch_first=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
        size=(512, 512), pad_val=0, seg_pad_val=255, test_cfg=dict(size_divisor=32)),
    decode_head=dict(
        type='Mask2FormerHead', strides=[4, 8, 16, 32], feat_channels=256, out_channels=256, num_classes=num_classes,
        num_queries=100, num_transformer_feat_level=3, align_corners=False, enforce_decoder_input_project=False,
        positional_encoding=dict(num_feats=128, normalize=True),
        pixel_decoder=dict(
            type='mmdet.MSDeformAttnPixelDecoder', num_outs=3, norm_cfg=dict(type='GN', num_groups=32),
            act_cfg=dict(type='ReLU'), positional_encoding=dict(num_feats=128, normalize=True),
            encoder=dict(
                num_layers=6,
                layer_cfg=dict(
                    self_attn_cfg=dict(num_levels=3, num_points=4, dropout=0., **attention),
                    ffn_cfg=dict(embed_dims=256, feedforward_channels=1024, num_fcs=2, ffn_drop=0.)))),
        transformer_decoder=dict(
            num_layers=9, return_intermediate=True,
            layer_cfg=dict(
                self_attn_cfg=dict(dropout=0., **attention),
                cross_attn_cfg=dict(dropout=0., **attention),
                ffn_cfg=dict(embed_dims=256, feedforward_channels=2048, num_fcs=2, ffn_drop=0.))),
        loss_cls=dict(type='mmdet.CrossEntropyLoss', loss_weight=2.0, class_weight=[1.0] * num_classes + [0.1]),
        loss_mask=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True, loss_weight=5.0),
        loss_dice=dict(type='mmdet.DiceLoss', naive_dice=True, eps=1.0, loss_weight=5.0),
        train_cfg=dict(
            num_points=12544, oversample_ratio=3.0, importance_sample_ratio=0.75,
            assigner=dict(
                type='mmdet.HungarianAssigner',
                match_costs=[
                    dict(type='mmdet.ClassificationCost', weight=2.0),
                    dict(type='mmdet.CrossEntropyLossCost', weight=5.0, use_sigmoid=True),
                    dict(type='mmdet.DiceCost', weight=5.0, pred_act=True, eps=1.0),
                ]),
            sampler=dict(type='mmdet.MaskPseudoSampler'))),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
head, norm = dict(lr_mult=1.0, decay_mult=0.), dict(lr_mult=0.1, decay_mult=0.)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=0.01),
    paramwise_cfg=dict(
        norm_decay_mult=0.,
        custom_keys={
            '_delete_': True,
            'backbone': dict(lr_mult=0.1),
            'query_embed': head,
            'query_feat': head,
            'level_embed': head,
            **{
                key: norm
                for key in (
                    'norm1.weight', 'norm1.bias', 'norm2.weight', 'norm2.bias', 'norm3.weight', 'norm3.bias',
                    'sr_norm.weight', 'sr_norm.bias', 'up_norm.weight', 'up_norm.bias', 'patch_embed.norm',
                    'patch_embeds.1.norm', 'patch_embeds.2.norm', 'patch_embeds.3.norm', 'downsample.norm',
                    'backbone.norm', 'reduction.norm1', 'conv_branch.norms', 'relative_position_bias_table')
            },
        }))
param_scheduler = [dict(type='PolyLR', eta_min=0., power=0.9, begin=0, end=160000, by_epoch=False)]
