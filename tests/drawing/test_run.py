"""Plots of training runs, also with published ones."""
import json
from pathlib import Path

import pytest
from helpers import raises
from PIL import Image

from mmvit.drawing import draw_runs, run
from mmvit_backbones.errors import UsageError


def write_run(work_dir: Path, time: str, *entries: dict) -> Path:
    file = work_dir / time / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text('\n'.join(map(json.dumps, entries)))
    return work_dir


def test_runs_are_drawn(tmp_path):
    first = write_run(tmp_path / 'a', '20260101_000000', *(
        dict(loss=1 / step, lr=0.1, iter=step, step=step, epoch=1, time=0.1) for step in range(1, 20)))
    write_run(first, '20260102_000000', dict(loss=7., lr=0.1, iter=19, step=19), {'accuracy/top1': 3., 'step': 1})
    second = write_run(tmp_path / 'b', '20260101_000000', dict(loss=2., lr=0.1, iter=1, step=1))
    out = tmp_path / 'runs.png'
    assert draw_runs([str(first), str(second)], str(out)) == []
    with Image.open(out) as figure:
        assert figure.width > figure.height  # loss, learning rate and accuracy, side by side
    curves = run.read_run(first)
    assert curves.keys() == {'loss', 'lr', 'accuracy/top1', 'epoch'}
    assert curves['loss'][19] == 7. and len(curves['loss']) == 19


def test_a_run_is_drawn_with_the_published_one(monkeypatch, tmp_path):
    """The published run is drawn a little beyond the end of the run, if the work dir has the config of its recipe."""
    shown = []
    monkeypatch.setattr(run, 'save_figure', lambda figure, path, **options: shown.append(figure))
    work_dir = write_run(tmp_path / 'a', '20260101_000000', dict(loss=7., epoch=2, iter=2400, step=2400),
                         *({'accuracy/top1': 0.1, 'step': epoch} for epoch in range(1, 9)))

    def draw() -> list[str]:
        return draw_runs([str(work_dir)], 'a.png', published=True)

    with raises(UsageError, 'published', 'imagenet_vitaev2_s'):
        draw()
    (work_dir / 'imagenet_vitaev2_s.py').touch()
    assert draw() == []
    loss, accuracy = shown[0].axes[:2]
    assert [list(line.get_xdata()) for line in loss.lines] == [[2400], [626, 1877]]  # the middle of two epochs
    assert [max(line.get_xdata()) for line in accuracy.lines] == [8, 10]
    write_run(work_dir, '20260102_000000', dict(loss=7., epoch=1, iter=2400, step=2400))
    assert 'about 2400 updates per epoch instead of 1251' in draw()[0]
    (work_dir / 'imagenet_vitaev2_s.py').write_text('train_cfg = dict(max_epochs=30)')
    assert ': 30 epochs instead of 310, about 2400' in draw()[0]
    assert '30 epochs' in ' '.join(shown[-1].get_suptitle().split())  # in lines


@pytest.mark.parametrize('number', [1, 2])
def test_curves_are_labeled(number, monkeypatch, tmp_path):
    """The loss has a point per iteration; metrics may have one per epoch. Curves of several runs begin with the run."""
    curves = {'loss': {1: 2., 2: 1.}, 'coco/bbox_mAP_50': {1: .5}, 'accuracy/top1': {1: 30.}, 'mIoU': {1: 40.}}
    shown = []
    monkeypatch.setattr(run, 'save_figure', lambda figure, path, **options: shown.append(figure))
    run.draw({f'run{i}': curves for i in range(number)}, str(tmp_path / 'a.png'))
    panels = {axes.get_title(): axes for axes in shown[0].axes if axes.get_title()}
    assert list(panels) == ['loss', 'accuracy', 'coco/bbox', 'metric']
    assert [axes.get_xlabel() for axes in panels.values()] == ['iteration', *['epoch or iteration'] * 3]
    labels = [text.get_text() for text in panels['loss'].get_legend().get_texts()]
    assert labels == (['loss'] if number == 1 else ['run0: loss', 'run1: loss'])


@pytest.mark.parametrize('rest', ['{', '{"loss": 7., "st', '{"loss": 7., "caf\xe9'.encode('latin1')])
def test_a_last_line_that_is_cut_off_is_left_out(rest, tmp_path):
    """As by a kill; the run goes on in another file."""
    write_run(tmp_path, '1', dict(loss=1., step=1))
    file = tmp_path / '1/vis_data/scalars.json'
    file.write_bytes(file.read_bytes() + b'\n' + (rest if isinstance(rest, bytes) else rest.encode()))
    write_run(tmp_path, '2', dict(loss=2., step=2))
    assert run.read_run(tmp_path)['loss'] == {1: 1., 2: 2.}


@pytest.mark.parametrize('content, message', [
    (None, 'has no TIME/vis_data'), ('', 'no loss, learning rate or metric'), ('7\n', 'line 1, is not an entry'),
    ('{"loss": 1}', 'line 1, is not an entry'), ('{"loss": 1, "st\n{"loss": 1, "step": 1}', 'line 1, is not an entry')])
def test_invalid_runs_are_reported(tmp_path, content, message):
    if content is not None:
        file = write_run(tmp_path, 'time') / 'time/vis_data/scalars.json'
        file.write_text(content)
    with raises(UsageError, message):
        draw_runs([str(tmp_path)], 'a.png')
