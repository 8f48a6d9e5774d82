"""Labels of a model and of the data it is used with mean the same classes."""
import pytest
from helpers import raises

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.classes import check_labels

TRAINED = 'cat', 'dog', 'cow'


@pytest.mark.parametrize('others', [('red', 'green', 'blue'), ('dog', 'cat', 'cow'), ('dog', 'cow'), ('red', )])
def test_labels_of_other_classes_are_refused(others):
    with raises(UsageError, 'run/best.pth', ', '.join(TRAINED), 'the test data', ', '.join(others), repr(others[0])):
        check_labels(TRAINED, others, 'run/best.pth', 'the test data', 'use the same')


@pytest.mark.parametrize('others', [TRAINED, TRAINED[:2], (*TRAINED, 'owl'), ()])
def test_one_side_may_have_more_classes(others):
    check_labels(TRAINED, others, 'run/best.pth', 'the test data', 'use the same')
    check_labels((), others, 'run/best.pth', 'the test data', 'use the same')
