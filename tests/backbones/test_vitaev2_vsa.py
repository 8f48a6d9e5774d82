"""ViTAEv2-VSA: arguments, resized weights and initial weights."""
import pytest
import torch
from helpers import fresh_model, raises
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS


@torch.no_grad()
def test_position_biases_of_another_window_size_are_resized_on_load():
    small, large = fresh_model('ViTAEv2VSA'), fresh_model('ViTAEv2VSA', window_size=12)
    small.stages[0].cells[0].attn.position_bias.relative_position_bias_table.fill_(7.)
    large.load_state_dict(small.state_dict())
    torch.testing.assert_close(large.stages[0].cells[0].attn.position_bias(), torch.full((23 * 23, 1), 7.))


@pytest.mark.parametrize('argument', ['window_padding', 'offset_divisor'])
def test_bad_arguments_are_named(argument):
    with raises(ValueError, argument, 'nowhere'):
        MODELS.build({'type': 'ViTAEv2VSA', **TINY_CONFIGS['ViTAEv2VSA'], argument: 'nowhere'})


def test_projections_have_the_initial_weights_of_convolutions():
    """The authors' projections are convolutions, whose weights and biases PyTorch draws from uniform distributions."""
    cell = MODELS.build({'type': 'ViTAEv2VSA', **TINY_CONFIGS['ViTAEv2VSA']}).stages[3].cells[0]
    for linear in (cell.attn.qkv, cell.attn.proj):
        published = (3 * linear.in_features)**-0.5
        assert linear.weight.std().item() == pytest.approx(published, rel=0.05) and linear.bias.any()
    assert cell.mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.05) and not cell.mlp.fc1.bias.any()
