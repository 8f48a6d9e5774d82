"""Loading of relative position tables; ``tests/test_goldens.py`` checks the position bias itself."""
import pytest
import torch

from mmvit_backbones.layers import RelativePositionTable


def test_tables_of_another_window_size_are_resized_head_by_head():
    small, large = RelativePositionTable(num_heads=2, window_size=3), RelativePositionTable(num_heads=2, window_size=5)
    rows = torch.arange(5.).repeat_interleave(5)
    small.load_state_dict(dict(relative_position_bias_table=torch.stack([rows, torch.full((25, ), 7.)], dim=1)))
    large.load_state_dict(small.state_dict())
    by_row, constant = large.relative_position_bias_table.detach().T.unflatten(1, (9, 9))
    torch.testing.assert_close(constant, torch.full((9, 9), 7.))
    torch.testing.assert_close(by_row, by_row[:, :1].expand(9, 9))
    assert by_row[4, 0].item() == pytest.approx(2) and (by_row[1:, 0] > by_row[:-1, 0]).all()


@pytest.mark.parametrize('shape', [(25, 2), (81, 2), (50, ), (9, 3, 1)], ids=str)
def test_tables_of_other_shapes_are_refused(shape):
    with pytest.raises(RuntimeError, match='size mismatch'):
        RelativePositionTable(3, window_size=3).load_state_dict(dict(relative_position_bias_table=torch.zeros(shape)))
