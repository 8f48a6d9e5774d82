"""The networks in Hugging Face's Transformers. `make test-extras` runs these tests with Transformers 5."""
import pytest
import torch
import torch.nn.functional as F
from helpers import ROOT, each_network, raises, without_dropout
from tiny_configs import NAMES, TINY_CONFIGS
from torch import Tensor, nn
from torch.testing import assert_close

transformers = pytest.importorskip('transformers')
from transformers import AutoBackbone, AutoModel, AutoModelForImageClassification  # noqa: E402

from mmvit_backbones.integrations.huggingface import (  # noqa: E402
    BitImageProcessor,
    MMViTBackbone,
    MMViTConfig,
    MMViTForImageClassification,
    major_version,
)
from mmvit_backbones.layers.drop_path import DropPath  # noqa: E402

ARCH = TINY_CONFIGS['ReSwin']['arch']
IS_4 = major_version(transformers.__version__) == 4
RECOMPUTATION = 'gradient_checkpointing' if IS_4 else 'activation_checkpointing'  # the option's name in Transformers


def config_of(network: str, **arguments) -> MMViTConfig:
    backbone = {key: value for key, value in TINY_CONFIGS[network].items() if key != 'stage_norm'}
    return MMViTConfig({'type': network, **backbone}, network=NAMES[network], **{'num_labels': 3, **arguments})


def classifier(network: str, **arguments) -> MMViTForImageClassification:
    return MMViTForImageClassification(config_of(network, **arguments))


def images(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 64, 64)


def assert_same_weights(loaded: nn.Module, saved: nn.Module) -> None:
    """Checks that weights are equal; outputs may differ by rounding, because safetensors files don't align tensors."""
    assert_close(loaded.state_dict(), saved.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize('network', ['ReSwin', 'RegionViT', 'ViTAE-plain', 'ResTv2'])
@torch.no_grad()
def test_saved_backbones_can_be_loaded(network, tmp_path):
    config = MMViTConfig(backbone={'type': network, **TINY_CONFIGS[network]}, out_indices=[-1])
    model = MMViTBackbone(config).eval()
    model.save_pretrained(tmp_path)
    # AutoBackbone of Transformers 5 looks for the folder on the hub.
    loaded = (AutoBackbone if IS_4 else MMViTBackbone).from_pretrained(str(tmp_path)).eval()
    x = torch.randn(1, 3, 70, 97)
    maps, expected = loaded(x).feature_maps, model.backbone(x)
    assert loaded.out_features == [f'stage{model.backbone.num_stages - 1}'] and len(maps) == 1
    assert_same_weights(loaded.backbone, model.backbone)
    assert_close(maps[0], expected[0])


@pytest.mark.parametrize('network', ['ReSwin', 'RegionViT', 'RefinerViT'])
def test_saved_classifiers_can_be_loaded(network, tmp_path):
    model, x = classifier(network).eval(), images()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(str(tmp_path)).eval()
    assert_same_weights(loaded, model)
    assert_close(loaded(x).logits, model(x).logits)
    features = AutoModel.from_pretrained(str(tmp_path)).eval()(x)
    assert_close(features.last_hidden_state, model.model.forward_features(x))
    assert features.pooler_output.shape == (2, model.model.head.in_features)


@each_network
def test_a_new_head_is_initialized(network, tmp_path):
    """Only weights whose shapes differ from the file's are initialized, with the default of the layer."""
    model = classifier(network)
    with torch.no_grad():
        for x in [*model.parameters(), *model.buffers()]:
            x.copy_(x + 1)  # no weight keeps its initial value
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(str(tmp_path), num_labels=40, ignore_mismatched_sizes=True)
    before = model.state_dict()
    for name, x in loaded.state_dict().items():
        if 'head.' not in name:
            assert torch.equal(x, before[name]), name
        elif name.endswith('weight'):
            assert x.std().item() == pytest.approx((3 * x.shape[1])**-0.5, rel=0.2)
            assert abs(x.mean().item()) < 0.1 * x.std().item()
        else:
            assert x.shape == (40, ) and x.abs().max() <= loaded.model.head.in_features**-0.5


def test_a_new_stem_and_its_norms_are_initialized(tmp_path):
    """Buffers are also initialized: the statistics of batch norms don't fit another number of channels."""
    model = classifier('ResT')
    model.save_pretrained(tmp_path)
    config = config_of('ResT')
    config.backbone['arch'] = {**config.backbone['arch'], 'embed_dims': 2 * model.model.backbone.channels[0]}
    loaded = AutoModelForImageClassification.from_pretrained(str(tmp_path), config=config, ignore_mismatched_sizes=True)
    buffers = dict(loaded.named_buffers())
    assert any(name.endswith('running_var') for name in buffers)
    assert all((x == 1).all() for name, x in buffers.items() if name.endswith('running_var'))
    assert all(x.isfinite().all() and x.abs().max() < 10 for x in loaded.parameters())


@torch.no_grad()
def test_num_channels_are_those_of_the_images(tmp_path):
    backbone = {'type': 'ReSwin', **TINY_CONFIGS['ReSwin']}
    assert MMViTConfig(backbone=backbone).num_channels == 3
    assert MMViTConfig(backbone={**backbone, 'in_channels': 4}).num_channels == 4
    with raises(ValueError, 'num_channels', 4, 'in_channels', 5):
        MMViTConfig(backbone={**backbone, 'in_channels': 5}, num_channels=4)
    with raises(ValueError, 'channels', 0):
        MMViTConfig(backbone=backbone, num_channels=0)
    model, x = classifier('ReSwin', num_channels=4).eval(), torch.randn(1, 4, 64, 64)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(str(tmp_path)).eval()
    assert loaded.config.num_channels == 4
    assert_close(loaded(x).logits, model(x).logits)
    other = AutoModelForImageClassification.from_pretrained(
        str(tmp_path), num_channels=1, ignore_mismatched_sizes=True).eval()
    assert other(x[:, :1]).logits.shape == (1, 3)
    weights, stem = model.state_dict(), 'model.backbone.patch_embed.proj.weight'
    assert {name for name, value in other.state_dict().items() if not torch.equal(value, weights[name])} <= {
        stem, stem.replace('weight', 'bias')}


@each_network
@torch.no_grad()
def test_hidden_states_are_the_maps_of_all_stages(network):
    model, x = classifier(network).eval(), images()
    out = model(x, output_hidden_states=True)
    for actual, expected in zip(out.hidden_states, model.model.backbone.forward_stages(x), strict=True):
        assert torch.equal(actual, expected)
    assert torch.equal(out.logits, model(x).logits) and model(x).hidden_states is None
    model.config.output_hidden_states = True
    assert len(model(x, return_dict=False)) == 2


@pytest.mark.parametrize('network', ['ReSwin', 'RefinerViT'])
@torch.no_grad()
def test_composed_models_get_tokens(network, tmp_path):
    """Captioning models project and attend to tokens."""
    decoder = transformers.BertConfig(is_decoder=True, add_cross_attention=True, hidden_size=32, num_hidden_layers=1,
                                      num_attention_heads=2, intermediate_size=64, vocab_size=100)

    def captioner(**arguments) -> transformers.VisionEncoderDecoderModel:
        composed = transformers.VisionEncoderDecoderConfig
        config = composed.from_encoder_decoder_configs(config_of(network, **arguments), decoder)
        return transformers.VisionEncoderDecoderModel(config).eval()

    x, words = images(), torch.randint(2, 90, (2, 6))
    model = captioner(output_tokens=True)
    out = model(pixel_values=x, decoder_input_ids=words, output_hidden_states=True, output_attentions=True)
    encoder = model.encoder
    maps = encoder.model.backbone.forward_stages(x)
    for actual, expected in zip(out.encoder_hidden_states, maps, strict=True):
        assert torch.equal(actual, expected.flatten(2).transpose(1, 2))
    assert out.encoder_last_hidden_state.shape[1:] == (4 if network == 'ReSwin' else 17, encoder.config.hidden_size)
    assert torch.equal(encoder(x).pooler_output, encoder.model.forward_head(encoder.model.forward_features(x), True))
    model.save_pretrained(tmp_path)
    loaded = transformers.VisionEncoderDecoderModel.from_pretrained(str(tmp_path)).eval()
    assert_close(loaded(pixel_values=x, decoder_input_ids=words).logits, out.logits)
    with raises(AttributeError, 'output_tokens=True', 'hidden_size'):
        captioner()
    with raises(ValueError, 'output_tokens', 'yes'):
        config_of(network, output_tokens='yes')


@torch.no_grad()
def test_hidden_states_are_computed_in_a_single_pass():
    model = classifier('ResT').train()
    model(images(), output_hidden_states=True)
    assert {int(x) for name, x in model.named_buffers() if name.endswith('num_batches_tracked')} == {1}


@torch.no_grad()
def test_stages_of_a_backbone():
    config = MMViTConfig(backbone=dict(type='ReSwin', arch=ARCH))
    config.out_indices = [-2, -1]
    model, x = MMViTBackbone(config).eval(), images()
    assert model.out_features == ['stage2', 'stage3'] and model.channels == [64, 128]
    out = model(x, output_hidden_states=True)
    assert [y.shape[1] for y in out.feature_maps] == model.channels
    assert [y.shape[1] for y in out.hidden_states] == [16, 32, 64, 128]


@pytest.mark.parametrize('network', ['ReSwin', 'ResT', 'ResTv2', 'RegionViT'])
@torch.no_grad()
def test_stages_set_after_building_are_returned_or_refused(network):
    arguments = {'type': network, **TINY_CONFIGS[network]}
    model, x = MMViTBackbone(MMViTConfig(backbone=arguments, out_indices=[0, 1, 2, 3])).eval(), images()
    maps = model(x).feature_maps
    for attribute, value in dict(out_features=['stage1', 'stage3'], out_indices=[-3, -1]).items():
        model.out_indices = [0]
        setattr(model, attribute, value)
        assert model.out_features == ['stage1', 'stage3']
        assert model.channels == [maps[1].shape[1], maps[3].shape[1]]
        found = model(x).feature_maps
        assert len(found) == 2 and all(map(torch.equal, found, (maps[1], maps[3])))
    last = MMViTBackbone(MMViTConfig(backbone=arguments)).eval()
    if hasattr(last.backbone, 'norm3') and not hasattr(last.backbone, 'norm0'):
        with raises(ValueError, 'out_features', 'norm0', 'stage3'):
            last.out_features = ['stage0', 'stage3']
        assert last.out_features == ['stage3']
    else:
        last.out_features = ['stage0', 'stage3']
    assert [y.shape[1] for y in last(x).feature_maps] == last.channels


@pytest.mark.parametrize('problem_type, labels, loss', [
    ('single_label_classification', torch.tensor([0, 2]), F.cross_entropy),
    ('multi_label_classification', torch.tensor([[1., 0, 1], [0, 0, 1]]), F.binary_cross_entropy_with_logits),
    ('regression', torch.randn(2, 3), F.mse_loss)])
def test_the_problem_type_determines_the_loss(problem_type, labels, loss):
    model, x = classifier('ResTv2', problem_type=problem_type).eval(), images()
    out = model(x, labels=labels)
    assert out.loss.item() == pytest.approx(loss(out.logits, labels).item(), rel=1e-5)
    out.loss.backward()
    assert model.model.head.fc.weight.grad.isfinite().all()


@each_network
def test_lora_with_activation_checkpointing(network):
    """Transformers and PEFT call ``enable_input_require_grads``: the first convolution's output then requires grad."""
    peft = pytest.importorskip('peft')
    model = without_dropout(classifier(network, problem_type='regression')).train()
    names = [name for name, module in model.named_modules() if type(module) is nn.Linear]
    model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=names, init_lora_weights=False))
    x, labels, gradients = images(), torch.randn(2, 3), []
    for is_on in (False, True):
        if is_on:
            getattr(model, f'{RECOMPUTATION}_enable')()
            model.enable_input_require_grads()
        torch.manual_seed(1)
        model.zero_grad()
        model(x, labels=labels).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    assert gradients[0].keys() == gradients[1].keys() and all('lora' in name for name in gradients[0])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.workflow
def test_trainer_trains_an_epoch(tmp_path):
    from PIL import Image
    folder = ROOT / 'data/flowers_mini/train'
    names = sorted(path.name for path in folder.iterdir())
    model = classifier('ResTv2', num_labels=len(names), image_size=32)
    files = sorted(folder.glob('*/*.jpg'))[::8]
    processed = model.image_processor()([Image.open(file) for file in files], return_tensors='pt').pixel_values
    samples = [dict(pixel_values=x, labels=names.index(file.parent.name)) for x, file in zip(processed, files)]
    arguments = transformers.TrainingArguments(
        str(tmp_path), num_train_epochs=1, per_device_train_batch_size=8, report_to=[], save_strategy='no',
        eval_strategy='epoch', use_cpu=True, learning_rate=1e-3, disable_tqdm=True, **{RECOMPUTATION: True})
    before = [p.detach().clone() for p in model.parameters()]
    trainer = transformers.Trainer(model, arguments, train_dataset=samples, eval_dataset=samples)
    assert trainer.train().global_step == -(-len(samples) // 8)
    assert not any(map(torch.equal, before, model.parameters()))
    assert 0 < trainer.evaluate()['eval_loss'] < 2
    trainer.save_model(tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(str(tmp_path))
    assert all(map(torch.equal, loaded.parameters(), model.parameters()))


@pytest.mark.parametrize('network, tiny', [('reswin_tiny', 'ReSwin'), ('refiner_vit_small', 'RefinerViT')])
@torch.no_grad()
def test_pipeline_of_a_saved_folder(network, tiny, tmp_path):
    from PIL import Image
    from timm.data import create_transform
    from transformers import AutoImageProcessor, pipeline

    from mmvit_backbones.zoo.variants import find_variant
    names, family = {0: 'cat', 1: 'dog', 2: 'owl'}, find_variant(network).family
    config = MMViTConfig(dict(type=tiny, **TINY_CONFIGS[tiny]), network=network, id2label=names,
                         label2id={name: i for i, name in names.items()}, image_size=56)
    model = MMViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    image = Image.open(next((ROOT / 'data/flowers_mini/val').rglob('*.jpg')))
    transform = create_transform(56, crop_pct=0.875, interpolation='bicubic', mean=[m / 255 for m in family.mean],
                                 std=[s / 255 for s in family.std])
    expected = transform(image)[None]
    pixels = AutoImageProcessor.from_pretrained(tmp_path)(image, return_tensors='pt').pixel_values
    assert pixels.shape == expected.shape and (pixels - expected).abs().mean() < 0.01
    best, *_ = pipeline('image-classification', str(tmp_path), device='cpu')(image)
    scores = model(pixels).logits.softmax(1)[0]
    assert best['label'] == names[int(scores.argmax())] and best['score'] == pytest.approx(float(scores.max()))
    own = BitImageProcessor(size=dict(shortest_edge=40))
    own.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    assert AutoImageProcessor.from_pretrained(tmp_path).size['shortest_edge'] == 40


def test_activation_checkpointing_in_transformers():
    model = MMViTForImageClassification(MMViTConfig(network='vitae_tiny', num_labels=5))
    for switch, is_on in (('enable', True), ('disable', False)):
        getattr(model, f'{RECOMPUTATION}_{switch}')()
        assert model.model.backbone.with_cp == getattr(model, f'is_{RECOMPUTATION}') == is_on


def test_published_weights_in_transformers(tmp_path, monkeypatch):
    from golden import fill_state_dict
    from golden_files import NETWORKS

    from mmvit_backbones.zoo.download import cached_file
    from mmvit_backbones.zoo.weights import WEIGHTS
    monkeypatch.setenv('MMVIT_HOME', str(tmp_path))
    weights = fill_state_dict(NETWORKS['golden_vitae_t']['state_dict'], torch.float32)
    torch.save(weights, cached_file(WEIGHTS['vitae_tiny']))
    model = MMViTForImageClassification.from_published('vitae_tiny')
    assert torch.equal(model.model.head.fc.weight, weights['head.weight'])
    other = MMViTForImageClassification.from_published('vitae_tiny', num_labels=4)
    own, theirs = other.model.backbone.state_dict(), model.model.backbone.state_dict()
    assert other.config.num_labels == 4 and all(torch.equal(own[key], theirs[key]) for key in own)
    named = MMViTForImageClassification.from_published('vitae_tiny', id2label={0: 'cat', 1: 'dog'})
    assert named.config.num_labels == 2 and named.config.id2label[1] == 'dog'


def test_hugging_faces_upernet_trains(tmp_path):
    from transformers import UperNetConfig, UperNetForSemanticSegmentation
    names = [f'stage{i}' for i in range(4)]
    backbone = MMViTConfig(backbone=dict(type='ReSwin', arch=ARCH), out_features=names)
    model = UperNetForSemanticSegmentation(UperNetConfig(
        backbone_config=backbone, num_labels=3, hidden_size=8, auxiliary_channels=8, auxiliary_in_channels=64))
    out = model(torch.randn(2, 3, 64, 96), labels=torch.randint(3, (2, 64, 96)))
    assert out.logits.shape == (2, 3, 64, 96)
    out.loss.backward()
    assert all(p.grad is not None for p in model.backbone.parameters())
    model.save_pretrained(tmp_path)
    loaded = UperNetForSemanticSegmentation.from_pretrained(tmp_path).eval()
    x = torch.randn(1, 3, 64, 64)
    assert_same_weights(loaded, model)
    assert_close(loaded(x).logits, model.eval()(x).logits)


def test_unsupported_arguments_are_refused():
    with raises(ValueError, 'out_indices'):
        MMViTConfig(backbone=dict(type='ReSwin', arch=ARCH, out_indices=(1, )))
    with raises(ValueError, '_scope_'):  # MMEngine would import the package
        MMViTConfig(backbone=dict(type='ReSwin', arch=ARCH, _scope_='antigravity'))
    for index in (-5, 4):
        with raises(ValueError, 'out_indices must be from -4 to 3', index):
            MMViTConfig(backbone=dict(type='ReSwin', arch=ARCH), out_indices=[index])
    for stages in (dict(out_features=['stem']), dict(out_features=['stage0'], out_indices=[1])):
        with raises(ValueError, 'out_features', *stages['out_features'], 'stage3'):
            MMViTConfig(backbone=dict(type='ReSwin', arch=ARCH), **stages)
    with raises(ImportError, 'transformers 4 and 5', '6.0.1'):
        major_version('6.0.1')


def test_drop_path_is_off_by_default():
    model = MMViTForImageClassification(MMViTConfig(dict(type='ReSwin', arch=ARCH), network='reswin_tiny'))
    assert not any(module.drop_prob for module in model.modules() if isinstance(module, DropPath))
