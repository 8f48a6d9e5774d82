# ViTDet's Mask R-CNN (arXiv 2203.16527, appendix A.2): a simple feature pyramid, two convolutions in the RPN, and four
# convolutions and a linear layer in the box head. Differences: ViTDet has LayerNorm over channels in the heads, which
# mmcv lacks; here, the box head has synchronized batch norms, and the mask head has no norms. The backbones use global
# attention in every block.
_base_ = './mask_rcnn_plain.py'
model = dict(
    data_preprocessor=dict(batch_augments=[dict(type='BatchFixedSizePad', size=(1024, 1024), pad_mask=True)]),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(
            type='Shared4Conv1FCBBoxHead', conv_out_channels=256,
            norm_cfg=dict(type='SyncBN', requires_grad=True))))
