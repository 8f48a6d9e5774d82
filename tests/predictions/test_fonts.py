"""Names of classes are drawn with a font that has their characters, or as numbers."""
import numpy as np
import pytest
from matplotlib.ft2font import FT2Font

from mmvit.predictions import fonts
from mmvit.predictions.fonts import _fonts, default_font, font_for
from mmvit.predictions.results import Detection

LACKING = '\U0001f9ff\U0010fffd'  # a private character that no font has


def drawn(name: str, label: int = 0) -> np.ndarray:
    image = np.full((240, 320, 3), 90, np.uint8)
    boxes = np.array([[10, 30, 150, 90]], np.float32)
    about = 'x', image, [name] * 2, [(80, 180, 230)] * 2
    return np.asarray(Detection(*about, np.array([label]), np.array([.9], np.float32), boxes).draw())


@pytest.fixture
def other_letter() -> str:
    """A character that matplotlib's default font lacks, and another font has."""
    default = set(FT2Font(default_font()).get_charmap())
    other = next(path for path in _fonts() if 'STIX' in path)
    return chr(min(code for code in FT2Font(other).get_charmap() if code > 32 and code not in default))


@pytest.mark.parametrize('name', ['plain', 'Größe', 'кот', 'كلب', 'γάτα'])
def test_letters_of_the_default_font(name):
    assert font_for(name) == default_font()


def test_another_font_is_found(other_letter):
    font = font_for(other_letter)
    assert font and font != default_font() and ord(other_letter) in FT2Font(font).get_charmap()
    assert (drawn(other_letter) != drawn('0')).any()


def test_without_a_font_the_number_is_drawn(capsys, monkeypatch):
    """That is said once, not for each class."""
    font_for.cache_clear()
    monkeypatch.setattr(fonts, '_without_font', [])
    np.testing.assert_array_equal(drawn(LACKING, label=1), drawn('1', label=1))
    assert (drawn(LACKING, label=0) != drawn(LACKING + '2', label=1)).any()
    assert capsys.readouterr().out.count('no font of this system') == 1
