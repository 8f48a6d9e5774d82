"""Class lists in the encodings of text editors and the formats of public data sets."""
import pytest
from helpers import raises

from mmvit.folders.class_lists import check_class_names, read_class_list
from mmvit_backbones.errors import UsageError

NAMES = 'road\ncafé\n'


@pytest.mark.parametrize('content', [
    NAMES.encode(), NAMES.encode('utf-8-sig'), NAMES.replace('\n', '\r\n').encode()])
def test_encodings_of_editors(content, tmp_path):
    (tmp_path / 'classes.txt').write_bytes(content)
    assert read_class_list(tmp_path / 'classes.txt').names == ('road', 'café')


def test_other_files_are_refused(tmp_path):
    (tmp_path / 'classes.txt').write_bytes(NAMES.encode('latin-1'))
    for name in 'classes.txt', 'missing.txt':
        with pytest.raises(UsageError, match=name):
            read_class_list(tmp_path / name)


@pytest.mark.parametrize('lines, colors', [
    (['sky', 'traffic light'], None), (['  sky ', '', 'traffic light\t'], None), (['0 sky', '1 traffic light'], None),
    (['0: sky', '1: traffic light'], None), (['1=traffic light', '0=sky', '255=void'], None),
    (['0 sky 128 0 9', '1 traffic light 1 2 3'], True), (['0,sky,128,0,9', '1,traffic light,1,2,3'], True),
    (['# my classes', 'sky', '#', 'traffic light'], None),
    (['sky 128 0 9', 'traffic light 1 2 3'], True),
    (['# label:color_rgb:parts:actions', 'sky:128,0,9::', 'traffic light:1,2,3::'], True),
    (['0 sky 128 0 9', '1 traffic light 1 2 3', '255 void 0 0 0'], True)])
def test_numbers_and_colors_are_no_part_of_names(lines, colors, tmp_path):
    """Class lists of CamVid, Pascal VOC and CVAT."""
    (tmp_path / 'classes.txt').write_text('\n'.join(lines))
    names, palette = read_class_list(tmp_path / 'classes.txt')
    assert names == ('sky', 'traffic light')
    assert palette == ([[128, 0, 9], [1, 2, 3]] if colors else None)


@pytest.mark.parametrize('lines', [
    ['0:sky', '1:traffic light'], ['0\tsky', '1\ttraffic light'], ['0;sky', '1;traffic light'],
    ['0. sky', '1. traffic light'],
    ['0.sky', '1.traffic light'], ['0) sky', '1) traffic light'], ['[0] sky', '[1] traffic light'],
    ['0 - sky', '1 - traffic light'], ['0, sky,', '1, traffic light,,'], ['"0","sky"', '"1","traffic light"'],
    ['0,"sky"', '1,"traffic light"'], ["0: 'sky'", "1: 'traffic light'"], ['sky,', 'traffic light,', ',,'],
    ['"sky"', '"traffic light"'], ['sky,0', 'traffic light,1'], ['traffic light 1', 'sky 0'],
    ['0  sky\r', '1  traffic light\r'],
    ['0|sky', '1|traffic light'], ['\ufeff0 sky', '1 traffic light'],
    ['0=sky', '', '# x', '1=traffic light', '255=void']])
def test_numbers_are_divided_from_names(lines, tmp_path):
    (tmp_path / 'classes.txt').write_text('\n'.join(lines), encoding='utf-8')
    assert read_class_list(tmp_path / 'classes.txt').names == ('sky', 'traffic light')


@pytest.mark.parametrize('lines', [
    ['Pixel Value, Class', '0, sky', '1, traffic light'], ['id name', '0 sky', '1 traffic light'],
    ['name,id', 'sky,0', 'traffic light,1'], ['Klasse', '0;sky', '1;traffic light'],
    ['name,r,g,b', 'sky,1,2,3', 'traffic light,4,5,6'],
    ['id\tname\tr\tg\tb', '0\tsky\t1\t2\t3', '1\ttraffic light\t4\t5\t6'],
    ['"id","name"', '"0","sky"', '"1","traffic light"']])
def test_headers_are_refused(lines, tmp_path):
    (tmp_path / 'classes.txt').write_text('\n'.join(lines))
    with raises(UsageError, tmp_path / 'classes.txt', repr(lines[0]), 'delete a header'):
        read_class_list(tmp_path / 'classes.txt')


def test_names_that_start_with_a_number(tmp_path):
    (tmp_path / 'classes.txt').write_text('car\n"2 wheeler"\nbus 7\n3d printer\n0.5 mm\n"a, b"\ntench, Tinca tinca\n')
    names = read_class_list(tmp_path / 'classes.txt').names
    assert names == ('car', '2 wheeler', 'bus 7', '3d printer', '0.5 mm', 'a, b', 'tench, Tinca tinca')
    (tmp_path / 'classes.txt').write_text('0,"light, red"\n1: tench, Tinca tinca\n')
    assert read_class_list(tmp_path / 'classes.txt').names == ('light, red', 'tench, Tinca tinca')


@pytest.mark.parametrize('content, words', [
    (NAMES.encode('utf-16'), 'UTF-16 at position 0'), (NAMES.encode('utf-16-be'), 'position 0'),
    (NAMES.encode('utf-16-le'), 'position 1'), (NAMES.encode('latin-1'), '0xe9 at position 8 in line 2')])
def test_other_encodings_are_refused(content, words, tmp_path):
    (tmp_path / 'classes.txt').write_bytes(content)
    with raises(UsageError, tmp_path / 'classes.txt', 'UTF-8', words, 'save'):
        read_class_list(tmp_path / 'classes.txt')


@pytest.mark.parametrize('lines, message', [
    (['1 sky', '2 road'], r'must be 0 to 1.*got \[1, 2\]'), (['0 sky', '0 road'], 'must be 0 to 1'),
    (['0 sky 128 0 9', '1 road'], 'other lines have none'), (['sky 1 2 3', 'road'], "'sky 1 2 3' is not a name"),
    (['sky 1 2 256', 'road 1 2 3'], r'numbers from 0 to 255, got \[1, 2, 256\]'),
    (['0 sky', '2 road'], r'got \[0, 2\]'),
    (['car', '2 wheeler', 'bus 7'], "'2 wheeler' is not a name alone"),
    (['sky', '1 road', '2 car'], 'another form'),
    (['0 sky', 'road', '2 car'], "'0 sky' is not"), (['0 sky', '1 road', 'car'], 'not a name'),
    (['0', '1'], 'not a name'),
    (['sky,1', 'road,2'], 'not a name'), (['name', 'sky', 'road'], 'header'),
    (['Class Name', 'sky', 'road'], 'header'),
    (['"0,sky"', '"1,road"'], 'around the name alone'), (['0,sky,nature', '1,road,flat'], 'two columns'),
    ([',sky', ',road'], "',sky' is not a name"), (['sky', '1,road', '2,car'], 'another form'),
    (['header', '1 sky', '2 road'], 'another form'), (['-1 sky', '0 road'], 'another form'),
    (['0-sky', '1-road'], 'not a name'), (['0.0 sky', '1.0 road'], 'not a name'),
    (['cat', 'Cat '], "more than case or space, got 'cat' and 'Cat'"), (['bus stop', 'busstop'], 'case or space')])
def test_lists_that_are_refused(lines, message, tmp_path):
    (tmp_path / 'classes.txt').write_text('\n'.join(lines))
    with pytest.raises(UsageError, match=message):
        read_class_list(tmp_path / 'classes.txt')


@pytest.mark.parametrize('name', [None, 7, '', ' '])
def test_names_are_text(name):
    with pytest.raises(UsageError, match='must be a string'):
        check_class_names(['cat', name], 'file')


def test_lists_of_many_or_no_classes(tmp_path):
    """Classes are sorted by their numbers, and 255 is a valid part of a color."""
    lines = [f'{number} class{number} 255 0 {number}' for number in (0, 10, *range(1, 10))]
    (tmp_path / 'classes.txt').write_text('\n'.join(lines))
    names, palette = read_class_list(tmp_path / 'classes.txt')
    assert names == tuple(f'class{number}' for number in range(11))
    assert palette == [[255, 0, number] for number in range(11)]
    (tmp_path / 'classes.txt').write_text('')
    assert read_class_list(tmp_path / 'classes.txt') == ((), None)
