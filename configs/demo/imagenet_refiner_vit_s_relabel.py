# Token labels of the flowers, from the network of another demonstration:
# python tools/train.py configs/demo/imagenet_reswin_t.py --work-dir work_dirs/reswin
# python tools/data/make_token_labels.py data/flowers_mini/train work_dirs/flowers_labels
#     configs/demo/imagenet_reswin_t.py --checkpoint work_dirs/reswin/epoch_6.pth --size 192
_base_ = '../_base_/demo_imagenet_relabel.py'
model = dict(
    backbone=dict(arch=dict(embed_dims=96, depth=8, num_heads=4, mlp_ratio=3), img_size=64, drop_path_rate=0.),
    head=dict(in_channels=96, map_loss=dict(num_pairs=6)))
