"""tools/dev/import_yaml.py: published recipes, written as their authors write them, are those of our configs."""
import pytest
import yaml
from helpers import ROOT

from mmvit_backbones.utils.config import load_config

# Rates of one step of 512 images.
RESWIN = {
    'NUM_GPUS': 2, 'TRAIN': {'BATCH_SIZE': 256, 'MIXED_PRECISION': True},
    'SOLVER': {'BASE_LR': '2.5e-4', 'COSINE_END_LR': 1.0e-5, 'WARMUP_START_LR': 1.0e-5, 'WARMUP_EPOCHS': 20.0,
               'MAX_EPOCH': 300, 'WEIGHT_DECAY': 0.05, 'OPTIMIZING_METHOD': 'adamw', 'LR_POLICY': 'cosine'},
    'AUG': {'AA_TYPE': 'rand-m9-n6-mstd0.5-inc1', 'RE_PROB': 0.1},
    'MIXUP': {'ENABLE': True, 'ALPHA': 0.8, 'CUTMIX_ALPHA': 0.0, 'PROB': 0.99, 'LABEL_SMOOTH_VALUE': 0.1},
    'MODEL': {'NUM_CLASSES': 1000}, 'DATA': {'TRAIN_CROP_SIZE': 224}}
REFINER = dict(
    batch_size=32, amp=True, lr=5e-4, min_lr=1e-5, warmup_lr=1e-6, warmup_epochs=5, epochs=300, cooldown_epochs=10,
    opt='adamw', sched='cosine', weight_decay=0.05, aa='rand-m9-mstd0.5-inc1', reprob=0.25, mixup=0.8, cutmix=1.0,
    mixup_switch_prob=0.5, smoothing=0.1, drop_path=0.2, model_ema_decay=0.99996, crop_pct=0.9, img_size=224,
    cos_reg_component=12)


@pytest.fixture
def convert(run, tmp_path):
    def convert(content: dict, config: str) -> tuple[str, dict]:
        (tmp_path / 'theirs.yaml').write_text(yaml.safe_dump(content))
        own = f'{tmp_path}/own.py'
        told = run('dev/import_yaml.py', f'{tmp_path}/theirs.yaml', f'{ROOT}/configs/{config}', '--out', own)
        return told, load_config(own).to_dict()
    return convert


@pytest.mark.parametrize('content, config', [
    (RESWIN, 'imagenet_reswin_t.py'), (REFINER, 'imagenet_refiner_vit_s.py')], ids=['reswin', 'refiner'])
def test_published_recipe_changes_nothing(convert, content, config):
    told, own = convert(content, config)
    assert len(told.splitlines()) == 1
    assert own == load_config(str(ROOT / 'configs' / config)).to_dict()


def test_changes_are_made_and_the_rest_is_named(convert):
    content = RESWIN | dict(
        SOLVER=RESWIN['SOLVER'] | {'BASE_LR': 5e-4, 'MAX_EPOCH': 100, 'CLIP_GRAD_L2NORM': 1.0},
        MIXUP={'ENABLE': True, 'ALPHA': 0.8, 'CUTMIX_ALPHA': 1.0, 'PROB': 1.0, 'SWITCH_PROB': 0.25},
        SWIN={'WINDOWS': 7}, MODEL={'NUM_CLASSES': 5}, OUTPUT_DIR='here')
    told, own = convert(content, 'imagenet_reswin_t.py')
    assert told.splitlines()[1:] == ["# not known: OUTPUT_DIR = 'here'", '# not known: SWIN.WINDOWS = 7']
    assert own['optim_wrapper']['optimizer']['lr'] == 2e-3 and own['optim_wrapper']['clip_grad'] == dict(max_norm=1.)
    assert own['train_cfg']['max_epochs'] == own['param_scheduler'][1]['end'] == 100
    assert own['model']['train_cfg']['probs'] == [0.75, 0.25] and own['model']['head']['num_classes'] == 5


@pytest.mark.parametrize('content, message', [
    ([1], 'must hold options by name, got list'), ({'lr': 'fast'}, "lr must be a number, 0 or more, got 'fast'"),
    ({'SOLVER': {'OPTIMIZING_METHOD': 3}}, 'SOLVER.OPTIMIZING_METHOD must be a word, got 3')])
def test_mistakes_are_told(convert, capsys, content, message):
    with pytest.raises(SystemExit):
        convert(content, 'imagenet_reswin_t.py')
    assert message in capsys.readouterr().err
