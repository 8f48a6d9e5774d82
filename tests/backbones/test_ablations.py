"""Arguments that switch off what the papers switch off."""
import pytest
import torch
from helpers import fresh_model, gradients, images

from mmvit_backbones.backbones import reswin


def neutralize(model: torch.nn.Module, words: tuple[str, ...], value: float) -> None:
    """Sets all parameters whose names contain one of ``words``."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(word in name for word in words):
                parameter.fill_(value)


# Network, ablation, and the parameters of the whole network that switch off the same part, with their value.
EQUIVALENT = [
    ('ViTAEv2VSA', dict(varied_windows=False), ('sampling_offsets', 'sampling_scales'), 0.),
    ('SwinVSA', dict(varied_windows=False), ('predictor', ), 0.),
    ('ReViT', dict(residual_logits=False), ('gate', ), 1.),
    ('ReMViTv2', dict(residual_logits=False), ('gate', ), 1.),
    ('ReSwin', dict(residual_logits=False), (), 0.),
    ('ResTv2', dict(upsampling=False), ('attn.up_norm', ), 0.),
]


@pytest.mark.parametrize('network, ablation, words, value', EQUIVALENT, ids=str)
@torch.no_grad()
def test_ablations_are_networks_with_a_neutral_part(network, ablation, words, value, monkeypatch):
    whole, part, x = fresh_model(network).eval(), fresh_model(network, **ablation).eval(), images(60, 70)
    unused = [name for name in whole.state_dict() if any(word in name for word in (*words, 'attn.up.'))]
    part.load_state_dict({name: x for name, x in whole.state_dict().items() if name not in unused})
    neutralize(whole, words, value)
    monkeypatch.setattr(reswin, 'ALPHA', 1.)  # the weight of a block's own logits
    for actual, expected in zip(part(x), whole(x), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('network, ablation', [
    *[(network, ablation) for network, ablation, *_ in EQUIVALENT], ('ResT', dict(head_interaction=False)),
    ('RefinerViT', dict(expansion=1)), ('RefinerViT', dict(local_attention=False)),
    ('RegionViT', dict(regional_attention=False))], ids=str)
def test_ablations_train_all_of_their_parameters(network, ablation):
    model = fresh_model(network, **ablation).train()
    assert model.state_dict().keys() <= fresh_model(network).state_dict().keys()
    found = gradients(model, images(60, 70))
    assert not [name for name, _ in model.named_parameters() if found.get(name) is None]


@pytest.mark.parametrize('regional_attention', [True, False])
@torch.no_grad()
def test_windows_exchange_information_by_regional_attention(regional_attention):
    model = fresh_model('RegionViT', regional_attention=regional_attention, out_indices=(0, )).eval()
    x = images(112, 112)
    other = x.clone()
    other[:, :, :8, :8] += 1  # in the first window of 7 x 7 tokens
    (before, ), (after, ) = model(x), model(other)
    assert not torch.equal(before[..., :7, :7], after[..., :7, :7])
    assert torch.equal(before[..., -7:, -7:], after[..., -7:, -7:]) != regional_attention
