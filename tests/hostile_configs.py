"""A valid checkpoint of a tiny classifier, and configs that a hostile checkpoint may contain instead."""
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from tiny_configs import TINY_CONFIGS

from mmvit_backbones.utils.file_configs import import_quietly

BACKBONE = dict(type='ReSwin', **TINY_CONFIGS['ReSwin'], out_indices=3)
MODEL = dict(
    type='ImageClassifier', backbone=BACKBONE, neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=4, in_channels=128, loss=dict(
        type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')))
RESIZE = dict(type='ResizeEdge', scale=64, backend='pillow')
PIPELINE = [dict(type='LoadImageFromFile'), RESIZE, dict(type='PackInputs')]
VALID = dict(
    default_scope='mmpretrain', model=MODEL, data_preprocessor=dict(mean=[0.] * 3, std=[255.] * 3, to_rgb=True),
    test_dataloader=dict(dataset=dict(type='ImageNet', data_root='data', pipeline=PIPELINE)))
META = dict(classes=['one', 'two', 'three', 'four'])

# Configs that must not be built. Most would create the file `canary`, read a file, or contact a server.
DISALLOWED = [
    dict(type='os.system', command='touch canary'), dict(type='pathlib.Path.touch', self='canary'),
    dict(type='builtins.eval', source='open("canary", "w")'), dict(type='runpy.run_path', path_name='evil.py'),
    dict(type='evil.Transform'), dict(type='evil'), dict(type=['os.system']), dict(type=None), dict(type={}),
    dict(type='torchvision/Lambda', lambd='open("canary", "w")'), dict(type='mmpretrain.torchvision/Lambda'),
    dict(type='torchvision/ConvertImageDtype', dtype='float if open("canary", "w") else 0'),
    dict(type='mmengine.registry.utils.evil'), dict(type='mmengine.fileio.load', file='evil.pkl'),
    dict(type='mmdet.CameraMotionCompensation', warp_mode='open("canary", "w")'),
    dict(type='__import__("os").system("touch canary")'), dict(type='open("canary", "w")'),
    dict(type='TIMMBackbone', model_name='resnet18', checkpoint_path='evil.pth'),
    dict(type='TIMMBackbone', model_name='local-dir:assets'),
    dict(type='TIMMBackbone', model_name='resnet18', pretrained_cfg=dict(file='weights')),
    dict(type='TIMMBackbone', model_name='resnet18', hf_hub_id='someone/evil', hf_hub_filename='weights'),
    dict(type='HuggingFaceClassifier', model_name='somebody/network', trust_remote_code=True),
    dict(type='AutoTokenizer', name_or_path='evil/registry'),
    dict(type='KnowledgeDistillationSingleStageDetector', teacher_config='official://evil.py',
         teacher_ckpt='official://http://127.0.0.1/'),
    dict(type='nms', iou_threshold=0.5, class_agnostic=dict(type='open("canary", "w")')),
]
TEXTS = ['/etc/passwd', 'weights', 'evil.py', 'local-dir:assets', 'file://evil', 'https://127.0.0.1/evil.pth',
         'official://evil.py', '__import__("os").system("touch canary")', '', 'x' * 1000]
OTHERS = [3_000_000, -3_000_000, 10**400, 1e300, float('inf'), float('nan'), [0] * 200_000, b'weights', {1}, object(),
          {1: 2}, {'a b': 1}, {'': 1}]
LARGE = dict(
    many_modules=dict(BACKBONE, arch=dict(BACKBONE['arch'], depths=[4096] * 4)),
    wide=dict(BACKBONE, arch=dict(BACKBONE['arch'], embed_dims=4096)),
    large_tables=dict(type='ReViT', arch=dict(embed_dims=256, depth=1, num_heads=1, mlp_ratio=1), img_size=4096),
    window=dict(BACKBONE, window_size=4096))


def checkpoint_of(config: dict, weights: dict | None = None, meta: dict = META) -> dict:
    text = Config(config).pretty_text
    return dict(state_dict=valid_weights() if weights is None else weights, message_hub=dict(
        runtime_info=dict(cfg=text)), meta=dict(cfg=text, config=text, dataset_meta=meta))


def valid_weights() -> dict:
    init_default_scope('mmpretrain')
    import_quietly('mmpretrain')
    return MODELS.build(MODEL).state_dict()
