"""The curves of a training."""
import json
from pathlib import Path

import torch
from mmengine.config import Config
from PIL import Image

from mmvit.drawing.curves import draw_curves, read_scalars


def write(work_dir: Path, second: str, *lines: dict) -> None:
    file = work_dir / second / 'vis_data/scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text('\n'.join(map(json.dumps, lines)))


def test_a_resumed_training_has_one_curve(tmp_path):
    """What came after its checkpoint counts once; tests and other trainings in the work dir do not."""
    write(tmp_path, '20260101_000000', *(dict(step=20 * i, epoch=i, loss=9.) for i in range(1, 9)))
    write(tmp_path, '20260101_000001', *(row for i in (1, 2, 3, 4) for row in (
        dict(step=20 * i, epoch=i, loss=1 / i), dict(step=i, mIoU=10. * i))))
    write(tmp_path, '20260101_000002', dict(step=2, mIoU=30.), dict(step=60, epoch=3, loss=5.),
          dict(step=3, mIoU=float('nan')))
    write(tmp_path / 'test', '20260101_000003', dict(step=2, mIoU=99.))
    torch.save(dict(message_hub=dict(runtime_info=dict(runs=[
        ('net_2_20260101_000001', 0), ('net_2_20260101_000002', 40)]))), tmp_path / 'epoch_3.pth')
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_3.pth')
    assert read_scalars(tmp_path, 'mIoU') == ({1: 1., 2: 0.5, 3: 5.}, {1: 10., 2: 30.})
    cfg = Config(dict(recipe={}, default_scope='mmseg', work_dir=str(tmp_path)))
    line, = draw_curves(cfg)
    with Image.open(tmp_path / 'curves.png') as image:
        assert line.endswith('curves.png') and min(image.size) > 200


def test_without_losses_nothing_is_drawn(tmp_path):
    assert draw_curves(Config(dict(recipe={}, default_scope='mmdet', work_dir=str(tmp_path)))) == []
    assert not any(tmp_path.iterdir())
