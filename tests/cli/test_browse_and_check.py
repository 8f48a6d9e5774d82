"""`mmvit data browse` and `mmvit data check`: titles, colors, chosen images, sheets and refused configs."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import ROOT, raises

from mmvit_backbones.cli import figures
from mmvit_backbones.cli.data import browse, check
from mmvit_backbones.data.drawing import Sample
from mmvit_backbones.data.mistakes import Mistake
from mmvit_backbones.errors import UsageError


@pytest.mark.parametrize('sample, expected', [
    (dict(gt_label=torch.tensor([1])), 'dog'), (dict(gt_label=torch.tensor([2, 0])), 'cow\ncat'),
    (dict(gt_score=torch.tensor([.3, .7, 0.])), 'dog 70%\ncat 30%'),
    (dict(gt_score=torch.tensor([.995, .005, 0.])), 'cat'),
    (dict(gt_score=torch.tensor([.02, .98, 0.])), 'dog 98%\ncat 2%')])
def test_titles_of_classes(sample, expected):
    """A mixed image has two classes, except if one of them is hardly visible."""
    class Found(SimpleNamespace):
        def __contains__(self, name):
            return hasattr(self, name)

    assert browse.describe_classes(Found(**sample), ('cat', 'dog', 'cow')) == expected
    assert browse.describe_classes(Found(gt_label=torch.tensor([4])), None) == '4'


def test_titles_of_objects():
    def count(*labels):
        sample = dict(gt_instances=SimpleNamespace(labels=torch.tensor(labels)))
        return browse.count_classes(type('Found', (dict, ), {'__getattr__': dict.get})(sample), tuple('abcdefg'))

    assert count(1, 0, 1) == '2 b, 1 a' and count(0, 1, 2, 3) == '1 a, 1 b, 1 c, 1 d'
    assert count(0, 1, 2, 3, 4, 4) == '2 e, 1 a, 1 b, 1 c, ...'
    assert browse.count_classes({}, tuple('ab')) == ''


def test_colors_and_size_of_drawn_images():
    """BGR inputs are drawn in RGB; padding is removed, and the original image size is restored."""
    image = torch.tensor([10., 20., 30.]).view(3, 1, 1).expand(3, 4, 6)
    for converts in {}, dict(to_rgb=True), dict(_channel_conversion=True), dict(channel_conversion=True):
        found = browse.to_rgb(image, SimpleNamespace(**converts))
        assert found.shape == (4, 6, 3) and found[0, 0].tolist() == ([10, 20, 30] if converts else [30, 20, 10])
    six = torch.cat([image, image + 30])
    assert browse.to_rgb(six, SimpleNamespace())[0, 0].tolist() == [35] * 3
    pixels = np.zeros((8, 10, 3), np.uint8)
    pixels[:4, :6] = 200
    sample = SimpleNamespace(img_shape=(4, 6), ori_shape=(12, 18))
    assert (browse.to_original_size(pixels, sample) == 200).all()
    assert browse.to_original_size(pixels, sample).shape == (12, 18, 3)


@pytest.mark.parametrize('number, chosen', [
    (3, ['2', '1', '0']), (20, ['12', '1', '0', '3', '6', '9'])])
def test_the_worst_images_are_drawn_first(number, chosen, tmp_path, monkeypatch, capsys):
    """Images with errors come before those with more warnings; the others are spread over the data."""
    monkeypatch.chdir(tmp_path)
    shown = []
    monkeypatch.setattr(check, 'draw_sheet', lambda drawings, path, **options: shown.extend(drawings))
    monkeypatch.setattr(check, 'draw_sample', lambda sample: sample.image)
    worst = '2' if number == 3 else '12'
    mistakes = [*(Mistake(text, False, ('1', )) for text in ('a warning', 'another', 'a third')),
                Mistake('an error', True, (str(tmp_path / worst), ))]
    check.draw([Sample(str(i), []) for i in range(number)], mistakes, 'out.png')
    assert [image for image, _ in shown] == chosen
    titles = [title.splitlines() for _, title in shown]
    assert [len(lines) for lines in titles] == [2, 3] + [2] * (len(chosen) - 2)
    assert titles[0][1:] == ['an error'] and titles[1][1:] == ['a warning', 'another']
    assert titles[2][1:] == ['no mistake found'] and titles[0][0] == '/'.join([*tmp_path.parts[-2:], worst])
    assert f'images drawn: {len(chosen)}, with mistakes: 2 -> out.png' in capsys.readouterr().out
    check.draw([], mistakes, 'out.png')
    assert 'no image can be drawn' in capsys.readouterr().out


def test_long_texts_are_shortened_in_titles():
    assert check.short_lines('image /a/b/c.jpg has no area, see /d/') == 'image c.jpg has no area, see /d/'
    lines = check.short_lines('word ' * 100).splitlines()
    assert [len(line) for line in lines] == [74, 58] and lines[1].endswith(' ...')


@pytest.mark.parametrize('number, rows', [(1, 1), (3, 1), (4, 2)])
def test_sheets_have_cells_of_one_size(number, rows, monkeypatch):
    shown = []
    monkeypatch.setattr(figures, 'save_figure', lambda figure, path, **options: shown.append(figure))
    figures.draw_sheet([(np.zeros((2, 2, 3), np.uint8), f'$a_{i}')for i in range(number)], 'x', columns=3, size=(2, 1))
    figure, = shown
    assert figure.get_size_inches().tolist() == [6, rows] and len(figure.axes) == 3 * rows
    assert [axes.get_title() for axes in figure.axes][:number] == [f'$a_{i}' for i in range(number)]
    assert not any(axes.axison for axes in figure.axes)
    figures.plt.close(figure)


def test_splits_without_data_are_an_error(run, tmp_path, capsys):
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = '{ROOT}/configs/demo/imagenet_reswin_t.py'\ntest_dataloader = test_evaluator = None\n"
                      'test_cfg = None\n')
    with pytest.raises(SystemExit):
        run('data check', str(config), '--splits', 'test')
    assert 'no data set for test' in capsys.readouterr().err


def test_poses_cannot_be_browsed():
    from importlib.util import find_spec
    if find_spec('mmpose') is None:
        pytest.skip('mmpose is optional and not installed; see docs/pose.md')
    with raises(UsageError, 'mmpose', 'pose_vitaev2_s'):
        browse.main(browse.get_parser().parse_args(['pose_vitaev2_s']))
