"""ViTAEv2-VSA: initial weights."""
import pytest
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS


def test_projections_have_the_initial_weights_of_convolutions():
    """The authors' projections are convolutions, whose weights and biases PyTorch draws from uniform distributions."""
    cell = MODELS.build({'type': 'ViTAEv2VSA', **TINY_CONFIGS['ViTAEv2VSA']}).stages[3].cells[0]
    for linear in (cell.attn.qkv, cell.attn.proj):
        published = (3 * linear.in_features)**-0.5
        assert linear.weight.std().item() == pytest.approx(published, rel=0.05) and linear.bias.any()
    assert cell.mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.05) and not cell.mlp.fc1.bias.any()
