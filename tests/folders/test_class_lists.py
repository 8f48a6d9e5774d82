"""Class lists have a name per line; other forms are refused, so that no class gets the label of another."""
import pytest
from helpers import raises

from mmvit.folders.class_lists import check_class_names, read_class_list
from mmvit_backbones.errors import UsageError

NAMES = 'road\ncafé\n'


@pytest.mark.parametrize('content', [
    NAMES.encode(), NAMES.encode('utf-8-sig'), NAMES.replace('\n', '\r\n').encode(),
    '# mine\n road\t\n\ncafé'.encode()])
def test_a_name_per_line(content, tmp_path):
    (tmp_path / 'classes.txt').write_bytes(content)
    assert read_class_list(tmp_path / 'classes.txt') == ('road', 'café')


@pytest.mark.parametrize('text, names', [
    ('"0"\n"1"\n\'2\'', ('0', '1', '2')), ('"3 wheeler"\n"4 wheeler"', ('3 wheeler', '4 wheeler')), ('', ()),
    ('car\n3 wheeler\nbus 7\n"a, b"', ('car', '3 wheeler', 'bus 7', 'a, b')), ('3d printer\n4d', ('3d printer', '4d')),
    ('class 0\nclass 1', ('class 0', 'class 1')), ('tench, Tinca tinca\n', ('tench, Tinca tinca', ))])
def test_names_that_are_taken_as_they_are(text, names, tmp_path):
    (tmp_path / 'classes.txt').write_text(text)
    assert read_class_list(tmp_path / 'classes.txt') == names


@pytest.mark.parametrize('text', [
    '0 sky\n1 road', '1 sky\n2 road', '0\n1', '0: sky\n1: road\n255: void', '1=road\n0=sky', '[0] sky\n[1] road',
    '"0","sky"\n"1","road"', '0 sky 128 0 9\n1 road 1 2 3', 'sky 128 0 9\nroad 1 2 3',
    '# CVAT\nsky:128,0,9::\nroad:1,2,3::',
    'Pixel Value, Class\n0, sky\n1, road\n2, car', 'name,r,g,b\nsky,1,2,3\nroad,4,5,6', 'name,id\nsky,0\nroad,1',
    '3 wheeler\n4 wheeler'])
def test_numbers_and_colors_beside_names_are_refused(text, tmp_path):
    """With the first line and the form; as a name, a header would give each class the label of the next one."""
    (tmp_path / 'classes.txt').write_text(text)
    first = text.removeprefix('# CVAT\n').splitlines()[0]
    with raises(UsageError, tmp_path / 'classes.txt', repr(first), 'numbers' if '1 2 3' not in text else '', 'quotes'):
        read_class_list(tmp_path / 'classes.txt')


@pytest.mark.parametrize('names, words', [
    (['sky', ''], 'text in a line'), ([None], 'text in a line'), (['a\nb'], 'text in a line'),
    (['cat', 'cat'], 'must differ'), (['Mu\u0308ll', 'Müll'], 'NFC, NFD')])
def test_names_that_are_refused(names, words):
    with raises(UsageError, 'file', words):
        check_class_names(names, 'file')


def test_other_encodings_are_refused(tmp_path):
    (tmp_path / 'classes.txt').write_bytes(NAMES.encode('latin-1'))
    for name in 'classes.txt', 'missing.txt':
        with raises(UsageError, tmp_path / name):
            read_class_list(tmp_path / name)
