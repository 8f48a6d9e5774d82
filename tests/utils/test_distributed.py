"""The rank of a process is known before the process group is initialized."""
import pytest

from mmvit.utils.distributed import is_first_process


@pytest.mark.parametrize('rank, expected', [(None, True), ('0', True), ('1', False), ('10', False)])
def test_the_first_process_has_rank_0_or_no_launcher(rank, expected, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    if rank is not None:
        monkeypatch.setenv('RANK', rank)
    assert is_first_process() == expected
