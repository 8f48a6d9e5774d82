"""Untrusted names of files and classes are displayed without side effects."""
import numpy as np
import pytest

from mmvit_backbones.inference import Classification
from mmvit_backbones.utils.text import cell, near_names, printable

CONTROLS = ['\x1b]0;title\x07', '\x1b[2J', 'a\nerror: b', 'a\rb', '\u202egpj.exe', '\x9b31m', '\udcff', '\u2028']


@pytest.mark.parametrize('text', CONTROLS, ids=repr)
def test_control_characters_are_escaped(text):
    assert printable(text).isprintable() and printable(text).encode()


@pytest.mark.parametrize('text', ['Löwe 🦁', '猫', 'data/cats and dogs/1.jpg', "it's 5 %", ''])
def test_other_texts_stay_as_they_are(text):
    assert printable(text) == cell(text) == text


@pytest.mark.parametrize('text', ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '\r=1'], ids=repr)
def test_formulas_are_escaped(text):
    assert cell(text) == f"'{text}"


def test_up_to_three_similar_names_are_listed():
    assert near_names('resnet', ['rest', 'resnet18', 'vit', 'resnet34', 'resnet50']).count(',') == 2
    assert near_names('resnet', ['resnet18', 'vit']) == '; similar names: resnet18'
    assert near_names('resnet', ['vit']) == ''


def test_names_of_classes_are_drawn_and_printed_as_texts():
    image = np.zeros((64, 64, 3), np.uint8)

    def result_with_class(name: str) -> Classification:
        return Classification('image.jpg', image, [name], [], np.array([0]), np.array([1.], np.float32))

    assert repr(result_with_class('a\x1b[2J\nb')) == repr(result_with_class(r'a\x1b[2J\nb'))
    assert result_with_class('a\x1b[2J\nb').draw().tobytes() == result_with_class(r'a\x1b[2J\nb').draw().tobytes()
