"""MMEngine's device decides on mixed precision and on the number of processes; here, tests replace it."""
import pytest
from helpers import raises

from mmvit.utils.devices import check_number_of_processes, has_mixed_precision
from mmvit_backbones.errors import UsageError


@pytest.fixture
def use(monkeypatch):
    """Returns a function that lets MMEngine train on a device."""
    return lambda device: monkeypatch.setattr('mmengine.device.utils.DEVICE', device)


@pytest.mark.parametrize('device, is_mixed', [('cpu', False), ('mps', False), ('cuda', True), ('npu', True),
                                              ('mlu', True), ('musa', True)])
def test_mixed_precision_is_where_mmengine_has_it(device, is_mixed, use):
    use(device)
    assert has_mixed_precision() == is_mixed


def test_processes_need_one_accelerator_each(use):
    use('cpu')
    check_number_of_processes(2)
    use('mps')
    with raises(UsageError, 2, 1):
        check_number_of_processes(2)
