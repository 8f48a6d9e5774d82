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
    ('RefinerViT', dict(expansion=1)), ('RefinerViT', dict(local_attention=False))], ids=str)
def test_ablations_train_all_of_their_parameters(network, ablation):
    model = fresh_model(network, **ablation).train()
    assert model.state_dict().keys() <= fresh_model(network).state_dict().keys()
    found = gradients(model, images(60, 70))
    assert not [name for name, _ in model.named_parameters() if found.get(name) is None]
