"""ImageNet-V2, -A, -R, -Sketch and -C in their authors' folder layouts, with artificial predictions."""
import json
import re
import shutil

import pytest
import torch
from helpers import ROOT, raises
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS

import mmvit_backbones
from mmvit_backbones.cli import testing
from mmvit_backbones.data.metrics.imagenet_variant import ALEXNET_ERRORS
from mmvit_backbones.errors import UsageError


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return str(folder)


def evaluate(folder: str, best: list[list[int]]) -> dict[str, float]:
    """Returns the metrics; ``best`` lists the highest-scoring classes of each image, with the images sorted by path."""
    dataset = DATASETS.build(dict(type='ImageNetVariant', data_root=folder, test_mode=True))
    metric = METRICS.build(dict(type='ImageNetVariantAccuracy'))
    metric.dataset_meta = dataset.metainfo
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    for info, classes in zip(infos, best, strict=True):
        scores = torch.zeros(1000)
        scores[classes] = torch.arange(len(classes), 0, -1.)
        metric.process({}, [dict(img_path=info['img_path'], gt_label=torch.tensor([info['gt_label']]),
                                 pred_score=scores)])
    return metric.evaluate(size=len(infos))


def test_classes_by_number(tmp_path):
    """The alphabetical order of ImageNet-V2's folders differs from the order of the classes."""
    folder = make(tmp_path, '0/a.jpeg', '10/b.jpeg', '2/c.jpeg', '999/d.jpeg')
    assert evaluate(folder, [[0], [10], [999], [999]])['accuracy/top1'] == 75.


def test_classes_that_do_not_occur_do_not_count(tmp_path):
    """Absent classes are ignored, as defined for ImageNet-A and -R. n01443537 is class 1, n01498041 is class 6."""
    folder = make(tmp_path, 'n01443537/a.jpg', 'n01498041/b.jpg', 'README.txt')
    assert evaluate(folder, [[500, 1], [1, 6]]) == {'accuracy/top1': 50., 'accuracy/top5': 100.}


def test_five_best_classes_are_compared(tmp_path):
    """The correct class has rank 1 for the first image, rank 2 for the second, and so on."""
    folder = make(tmp_path, *(f'{label}/a.jpeg' for label in range(7)))
    ranks = [[other for other in range(7) if other != label] for label in range(7)]
    for label, rank in enumerate(ranks):
        rank.insert(label, label)
    assert evaluate(folder, ranks) == {'accuracy/top1': pytest.approx(100 / 7), 'accuracy/top5': pytest.approx(500 / 7)}


def test_mean_corruption_error(tmp_path):
    """The error is 50 % for each corruption except snow."""
    names = [f'{name}/{severity}/n01440764/1.JPEG' for name in sorted(ALEXNET_ERRORS) for severity in (1, 5)]
    metrics = evaluate(make(tmp_path, *names, 'snow/1/n01443537/3.JPEG'),
                       [[0], [1]] * 13 + [[0], [1], [1]] + [[0], [1]])
    assert metrics['accuracy/fog'] == 50. and metrics['accuracy/snow'] == pytest.approx(200 / 3)
    errors = dict.fromkeys(ALEXNET_ERRORS, 50.) | dict(snow=100 / 3)
    expected = sum(100 * errors[name] / error for name, error in ALEXNET_ERRORS.items()) / 15
    assert metrics['accuracy/mCE'] == pytest.approx(expected)


def test_other_folders_are_refused(tmp_path):
    with raises(ValueError, str(tmp_path), 'images'):
        evaluate(str(tmp_path), [])
    with raises(ValueError, 'roses', 'class'):
        evaluate(make(tmp_path, 'roses/a.jpg'), [])


def test_an_imagenet_config_is_changed_to_a_variant(tmp_path):
    config = Config.fromfile(ROOT / 'configs/imagenet_vitae_t.py')
    pipeline = config.test_dataloader.dataset.pipeline
    testing.use_imagenet_variant(config, make(tmp_path, '7/a.jpeg'))
    dataset = config.test_dataloader.dataset
    assert (dataset.type, dataset.pipeline) == ('ImageNetVariant', pipeline)
    with raises(UsageError, 'ImageNetVariant', 'ImageNet'):
        testing.use_imagenet_variant(config, 'elsewhere')


@pytest.mark.parametrize('folder', ['data/flowers_mini/val', 'elsewhere'])
def test_folders_without_imagenet_classes_are_refused_by_mmvit_test(run, capsys, monkeypatch, folder):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit):
        run('test', 'configs/imagenet_vitae_t.py', '--imagenet-variant', folder)
    assert re.match(f'error: {folder} has (images in|no images)', capsys.readouterr().err)


@pytest.mark.slow
def test_metrics_of_mmvit_test(run, tmp_path, monkeypatch):
    """Tests random weights on flowers in the layout of ImageNet-A, with a config that averages weights."""
    monkeypatch.chdir(ROOT)
    torch.save(mmvit_backbones.get_model('vitae_tiny').state_dict(), tmp_path / 'random.pth')
    for wnid, image in zip(('n01443537', 'n01498041'), ROOT.glob('data/flowers_mini/val/*/*.jpg'), strict=False):
        (tmp_path / 'a' / wnid).mkdir(parents=True)
        shutil.copy(image, tmp_path / 'a' / wnid)
    run('test', 'configs/imagenet_vitae_t.py', str(tmp_path / 'random.pth'), '--imagenet-variant',
        str(tmp_path / 'a'), '--work-dir', str(tmp_path / 'work'), '--cfg-options', 'test_dataloader.num_workers=0')
    metrics, = (json.loads(path.read_text()) for path in tmp_path.glob('work/*/*.json'))
    assert metrics['accuracy/top1'] in (0, 50, 100) and metrics['accuracy/top5'] == 100 and metrics['loss'] > 0


def test_loss():
    metric = METRICS.build(dict(type='MeanCrossEntropy'))
    for score in (0.5, 0.25):
        metric.process({}, [dict(pred_score=torch.tensor([score, 1 - score]), gt_label=torch.tensor([0]))])
    assert metric.evaluate(2) == {'loss': pytest.approx(1.5 * torch.tensor(2.).log().item())}
    metric.process({}, [dict(pred_score=torch.tensor([0., 1.]), gt_label=torch.tensor([0]))])
    assert 600 < metric.evaluate(1)['loss'] < 1000  # finite for a probability of 0
