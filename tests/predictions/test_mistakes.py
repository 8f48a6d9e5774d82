"""Tables and pictures of the errors of a test agree with scikit-learn, pycocotools and mmseg."""
import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fine_tunings import COCO, recipe
from matplotlib.figure import Figure
from matplotlib.text import Text
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import Evaluator
from PIL import Image
from pycocotools.coco import COCO as Annotations
from pycocotools.cocoeval import COCOeval
from runs import in_two_processes
from sklearn.metrics import confusion_matrix, log_loss
from subcommands import call
from tiny_configs import TINY_CONFIGS
from tiny_exports import box_file

from mmvit import running
from mmvit.frameworks.building import use_framework
from mmvit.frameworks.tasks import CLASSIFIER, DETECTOR, SEGMENTER
from mmvit.inference import Predictor, evaluate
from mmvit.predictions.confusion import draw_confusion
from mmvit.predictions.mistakes import FILES, add_mistakes
from mmvit.recipes import save
from mmvit_backbones.zoo.reading import LAST, info_of, last_of, read_file, recorded_best

CLASSES = ['daisy', 'poppy', 'rose', 'tulip']


def images(folder: Path, number: int, size: tuple[int, int] = (48, 32)) -> list[str]:
    paths = [str(folder / f'{i:03d}.png') for i in range(number)]
    for i, path in enumerate(paths):
        Image.new('RGB', size, (i, 90, 120)).save(path)
    return paths


def mistakes_of(folder: Path, task, samples: list[dict], *metrics: dict, classes=CLASSES, size: int | None = None):
    """Returns the mistakes of predictions after writing them, and the figures of the test."""
    use_framework(task.framework)
    evaluator = Evaluator(list(metrics))
    mistakes = add_mistakes(Config(dict(recipe={}, default_scope=task.framework, model={})), evaluator)
    evaluator.dataset_meta = dict(classes=classes)
    for start in range(0, len(samples), 7):
        evaluator.process(samples[start:start + 7], {})
    figures = evaluator.evaluate(size or len(samples))
    if mistakes.rows:  # of the first process
        mistakes.write(folder / 'run', 'epoch 3')
    return mistakes, figures


def read(folder: Path, name: str) -> list[list[str]]:
    with open(folder / 'run' / name, encoding='utf-8', newline='') as file:
        return list(csv.reader(file))


def matrix_in(folder: Path) -> np.ndarray:
    return np.array([row[1:] for row in read(folder, 'confusion.csv')[1:]], int)


def classified(paths: list[str]) -> tuple[list[dict], np.ndarray, np.ndarray]:
    """Returns samples of a classifier, their labels and scores."""
    noise = np.random.default_rng(0)
    labels = noise.integers(len(CLASSES), size=len(paths))
    scores = noise.dirichlet(np.ones(len(CLASSES)), len(paths)).astype(np.float32)
    return [dict(img_path=path, gt_label=torch.tensor([label]), pred_score=torch.from_numpy(score))
            for path, label, score in zip(paths, labels, scores)], labels, scores


def test_classes_agree_with_scikit_learn(tmp_path):
    paths = images(tmp_path, 60)
    samples, labels, scores = classified(paths)
    mistakes, figures = mistakes_of(tmp_path, CLASSIFIER, samples, dict(type='Accuracy'))
    assert list(figures) == ['accuracy/top1']
    np.testing.assert_array_equal(matrix_in(tmp_path), confusion_matrix(labels, scores.argmax(1)))
    head, *rows = read(tmp_path, 'mistakes.csv')
    found = {row[0]: dict(zip(head, row)) for row in rows}
    for path, label, score in zip(paths, labels, scores):
        expected = log_loss([label], [score / score.sum(dtype=float)], labels=range(len(CLASSES)))
        assert float(found[path]['loss']) == pytest.approx(expected, abs=1e-3)
        assert (found[path]['truth'], found[path]['prediction']) == (CLASSES[label], CLASSES[score.argmax()])
    wrong = [row for row in rows if row[1] != row[2]]
    assert rows[:len(wrong)] == wrong and len(rows) == 60  # errors first, of these the worst
    losses = [float(row[head.index('loss')]) for row in wrong]
    assert losses == sorted(losses, reverse=True)
    assert sum(bool(row.outputs) for row in mistakes.rows) == 12
    assert set(FILES) == {path.name for path in (tmp_path / 'run').iterdir()}
    for sample in samples:
        sample['gt_label'] = sample['pred_score'].argmax()[None]
    mistakes, _ = mistakes_of(tmp_path, CLASSIFIER, samples, dict(type='Accuracy'))
    assert 'no image with an error' in mistakes.lines[0]
    assert not list((tmp_path / 'run').iterdir())  # files of an earlier validation would be taken for its own


def test_other_tests_are_as_in_openmmlab():
    """Of published configs, and with test-time augmentation."""
    evaluator = Evaluator([])
    for cfg in dict(model={}), dict(model=dict(module={}), recipe={}):
        assert add_mistakes(Config(dict(cfg, default_scope='mmpretrain')), evaluator) is None
    assert not evaluator.metrics


def segmented(paths: list[str], height: int, width: int) -> list[dict]:
    noise = torch.Generator().manual_seed(0)
    truths = [torch.randint(len(CLASSES), (1, height, width), generator=noise) for _ in paths]
    truths[1][:] = 255
    for truth in truths:
        truth[:, :3] = 255
    found = [torch.where(torch.rand(truth.shape, generator=noise) < 0.6, truth % 255, truth * 0) for truth in truths]
    return [dict(img_path=path, gt_sem_seg=dict(data=truth), pred_sem_seg=dict(data=each))
            for path, truth, each in zip(paths, truths, found)]


def test_segments_agree_with_mmseg(tmp_path):
    pytest.importorskip('mmseg')
    paths = images(tmp_path, 5, (923, 887))  # which are drawn at half of their size
    samples = segmented(paths, 887, 923)
    use_framework('mmseg')
    from mmseg.evaluation import IoUMetric
    areas = [IoUMetric.intersect_and_union(sample['pred_sem_seg']['data'][0], sample['gt_sem_seg']['data'][0],
                                           len(CLASSES), 255) for sample in samples]
    intersect, union, found, truth = (sum(part).numpy() for part in zip(*areas))
    _, figures = mistakes_of(tmp_path, SEGMENTER, samples, dict(type='IoUMetric', iou_metrics=['mIoU']))
    matrix = matrix_in(tmp_path)
    assert matrix.diagonal().tolist() == intersect.tolist()
    assert (matrix.sum(0) + matrix.sum(1) - matrix.diagonal()).tolist() == union.tolist()
    assert (matrix.sum(0).tolist(), matrix.sum(1).tolist()) == (found.tolist(), truth.tolist())
    assert 'mIoU' in figures
    rows = read(tmp_path, 'mistakes.csv')[1:]
    assert {row[0] for row in rows} == {*paths} - {paths[1]}  # which has no labeled pixel
    each = {path: 100 * (areas[i][0] / areas[i][1])[areas[i][3] > 0].mean() for i, path in enumerate(paths)}
    assert [float(row[1]) for row in rows] == pytest.approx([each[row[0]].item() for row in rows], abs=0.01)


def detected(file: str) -> tuple[list[dict], list[str]]:
    """Returns samples of a detector that errs in all ways, in the images of a COCO file, and the classes."""
    coco, noise = Annotations(file), np.random.default_rng(0)
    ids, samples = coco.getCatIds(), []
    for image in coco.getImgIds():
        boxes, labels = [], []
        for truth in coco.imgToAnns[image]:
            x, y, width, height = truth['bbox']
            for _ in range(noise.integers(3)):  # missed, found, or found twice
                shift = noise.normal(0, 0.15, 4) * [width, height, width, height]
                boxes.append(np.array([x, y, x + width, y + height]) + shift)
                is_right = noise.random() < 0.7
                labels.append(ids.index(truth['category_id']) if is_right else noise.integers(len(ids)))
        boxes, labels = np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, int)
        order = np.argsort(-(scores := noise.random(len(labels)).astype(np.float32)))
        info = coco.imgs[image]
        samples.append(dict(
            img_id=image, img_path=f'{COCO}/val/{info["file_name"]}', ori_shape=(info['height'], info['width']),
            pred_instances=dict(bboxes=torch.from_numpy(boxes[order]), labels=torch.from_numpy(labels[order]),
                                scores=torch.from_numpy(scores[order]))))
    return samples, [coco.cats[number]['name'] for number in ids]


FILE = f'{COCO}/annotations/instances_val.json'
METRIC = dict(type='CocoMetricFromZero', ann_file=FILE, metric=['bbox'])


def test_objects_agree_with_pycocotools(tmp_path):
    pytest.importorskip('mmdet')
    samples, classes = detected(FILE)
    mistakes, figures = mistakes_of(tmp_path, DETECTOR, samples, METRIC, classes=classes)
    assert figures['coco/bbox_mAP'] > 0
    coco = Annotations(FILE)
    ids = coco.getCatIds()
    found = [dict(image_id=sample['img_id'], category_id=ids[label], score=score, bbox=[x1, y1, x2 - x1, y2 - y1])
             for sample in samples for label, score, (x1, y1, x2, y2) in zip(
                 *(sample['pred_instances'][key].tolist() for key in ('labels', 'scores', 'bboxes')))]
    evaluation = COCOeval(coco, coco.loadRes(found), 'bbox')
    evaluation.params.iouThrs = [0.5]
    evaluation.evaluate()
    of_all = [each for each in evaluation.evalImgs if each and each['aRng'] == [0, 1e10]]
    counts = [(score, match > 0) for each in of_all for score, match, ignored in zip(
        each['dtScores'], each['dtMatches'][0], each['dtIgnore'][0]) if not ignored]
    objects = sum(int((1 - np.array(each['gtIgnore'])).sum()) for each in of_all)

    def f1(threshold: float) -> float:
        kept = [is_found for score, is_found in counts if score >= threshold]
        return 2 * sum(kept) / (len(kept) + objects)

    threshold = float(mistakes.about.split()[-1][:-1])
    assert f1(threshold) == max(f1(step / 100) for step in range(101))
    matrix, rows = matrix_in(tmp_path), read(tmp_path, 'mistakes.csv')[1:]
    kept = [is_found for score, is_found in counts if score >= threshold]
    assert matrix.diagonal().sum() == sum(kept) and matrix[:, :-1].sum() == len(kept)
    assert matrix[:-1].sum() == objects and matrix[-1, -1] == 0
    totals = np.array([row[1:5] for row in rows], int).sum(0).tolist()
    confused = matrix[:-1, :-1].sum() - matrix.diagonal().sum()
    assert totals == [matrix.diagonal().sum(), confused, matrix[:, -1].sum(), matrix[-1].sum()] and confused
    assert len(rows) == len(samples)


def test_kinds_of_errors_of_boxes(tmp_path):
    """A box on another class is confused; a second one is false; one on a crowd is neither."""
    pytest.importorskip('mmdet')
    image, = images(tmp_path, 1, (100, 80))
    truths = [(1, [0, 0, 20, 20], 0), (2, [40, 0, 20, 20], 0), (1, [0, 40, 20, 20], 0), (1, [50, 40, 50, 40], 1)]
    file = tmp_path / 'coco.json'
    file.write_text(json.dumps(dict(
        images=[dict(id=4, file_name='000.png', width=100, height=80)],
        categories=[dict(id=1, name='nut'), dict(id=2, name='bolt')],
        annotations=[dict(id=number, image_id=4, category_id=category, bbox=box, area=box[2] * box[3], iscrowd=crowd)
                     for number, (category, box, crowd) in enumerate(truths, 1)])))
    boxes = [[0, 0, 20, 20], [40, 0, 60, 20], [1, 0, 20, 20], [60, 50, 80, 70], [0, 40, 20, 60]]
    sample = dict(img_id=4, img_path=image, ori_shape=(80, 100), pred_instances=dict(
        bboxes=torch.tensor(boxes).float(), labels=torch.zeros(5, dtype=torch.long),
        scores=torch.tensor([.9, .85, .8, .7, .01])))
    metric = dict(METRIC, ann_file=str(file))
    mistakes, _ = mistakes_of(tmp_path, DETECTOR, [sample], metric, classes=['nut', 'bolt'])
    assert mistakes.about == ' (--score-thr 0.01)'
    assert read(tmp_path, 'mistakes.csv')[1][1:] == ['2', '1', '0', '1', str(round(4 / 7, 4))]
    assert matrix_in(tmp_path).tolist() == [[2, 0, 0], [1, 0, 0], [1, 0, 0]]
    sample['pred_instances'] = {key: values[:0] for key, values in sample['pred_instances'].items()}
    mistakes_of(tmp_path, DETECTOR, [sample], metric, classes=['nut', 'bolt'])
    assert matrix_in(tmp_path).tolist() == [[0, 0, 2], [0, 0, 1], [0, 0, 0]]


def test_two_processes_count_each_image_once(tmp_path):
    """Each keeps its own worst images, of which the first one draws the worst of all."""
    paths = images(tmp_path, 31)
    in_two_processes(in_process, tmp_path)
    samples, labels, scores = classified(paths)
    np.testing.assert_array_equal(matrix_in(tmp_path), confusion_matrix(labels, scores.argmax(1)))
    together = read(tmp_path, 'mistakes.csv'), (tmp_path / 'run/mistakes.jpg').read_bytes()
    mistakes_of(tmp_path, CLASSIFIER, samples, dict(type='Accuracy'))
    assert together == (read(tmp_path, 'mistakes.csv'), (tmp_path / 'run/mistakes.jpg').read_bytes())


def in_process(rank: int, folder: Path) -> None:
    samples, _, _ = classified([f'{folder}/{i:03d}.png' for i in range(31)])
    own = [samples[i] for i in DefaultSampler(range(31), shuffle=False)]
    mistakes_of(folder, CLASSIFIER, own, dict(type='Accuracy'), size=31)
    torch.distributed.barrier()


@pytest.mark.slow
def test_a_training_writes_its_best_validation(tmp_path):
    """A test of the best checkpoint writes the same to its own folder."""
    cfg = recipe(tmp_path, network=dict(type='ResT', **TINY_CONFIGS['ResT']), size=32, epochs=1)
    cfg.train_dataloader.dataset.indices = 16
    cfg.val_dataloader.dataset.indices = cfg.test_dataloader.dataset.indices = 30
    save(cfg)
    runner, table = running.train(cfg), tmp_path / 'run/mistakes.csv'
    assert {*FILES} <= {path.name for path in table.parent.iterdir()}
    first = table.read_text()
    assert len(first.splitlines()) == 31
    table.unlink()
    runner.call_hook('before_val_epoch')
    runner.call_hook('after_val_epoch', metrics={})
    assert not table.exists()
    runner.message_hub.update_info('best_ckpt', 'a later one')
    runner.call_hook('after_val_epoch', metrics={})
    assert table.read_text() == first
    table.unlink()
    run = str(tmp_path / 'run')  # whose files are of its training
    metrics = running.test(running.testing_config(run, f'{run}/epoch_1.pth', work_dir=run))
    assert not table.exists() and (table.parent / 'test/mistakes.csv').read_text() == first
    assert {*metrics} == {'accuracy/top1', 'mean_class_accuracy'}
    shutil.rmtree(table.parent / 'test')
    evaluate(running.testing_config(run, 'model.onnx', work_dir=run), Predictor(run).model.run, source='model.onnx')
    assert not table.exists() and {row.split(',')[0] for row in (table.parent / 'test/mistakes.csv').read_text(
        ).splitlines()} == {row.split(',')[0] for row in first.splitlines()}
    best = runner_best(run)
    running.train(running.training_config(run, resume=True, cfg_options={'train_cfg.max_epochs': 2}))
    assert table.exists() == (runner_best(run) != best)


def runner_best(run: str) -> dict:
    return recorded_best(info_of(read_file(last_of(Path(run, LAST)))))


@pytest.mark.slow
def test_an_exported_detector_has_the_score_of_its_test(tmp_path, capsys):
    pytest.importorskip('onnx')
    cfg = recipe(tmp_path, 'coco_folder', dict(type='ResT', **TINY_CONFIGS['ResT']), boxes_only=True)
    cfg.test_dataloader.dataset.indices = 4
    save(cfg)
    coco = Annotations(FILE)
    ids = coco.getCatIds()
    first, = coco.loadAnns(coco.getAnnIds(coco.getImgIds()[:1])[:1])
    x, y, width, height = first['bbox']
    file = box_file(tmp_path, [coco.cats[number]['name'] for number in ids], ids.index(first['category_id']), 0.62,
                    [x, y, x + width, y + height])
    call('test', cfg.filename, file)
    assert '--score-thr 0.62' in capsys.readouterr().out


def test_of_many_classes_the_pairs_are_drawn():
    """As in a matrix, a picture shows the largest count."""
    matrix = np.eye(40, dtype=int) * 50
    matrix[3, 7], matrix[8, 2] = 9, 4
    names = [f'class {number}' for number in range(40)]
    texts = texts_of(draw_confusion(matrix, names, (), 'epoch 1'))
    assert texts.index('class 3 → class 7') < texts.index('class 8 → class 2')
    assert {'9', '4'} <= {*texts} and '50' not in texts
    lost = np.zeros((41, 41), int)
    lost[5, 40], lost[40, 6] = 3, 2  # an untrained detector confuses none
    assert {'class 5 → missed', 'false → class 6'} <= {*texts_of(draw_confusion(lost, names, ('missed', 'false'), ''))}
    texts = texts_of(draw_confusion(matrix[:10, :10], names[:10], (), 'epoch 1'))
    assert texts.count('50') == 10 and 'class 9' in texts


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]
