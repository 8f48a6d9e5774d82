"""A training that learns no more than the frequencies of the classes says so, at its half and at its end."""
from importlib import import_module
from pathlib import Path

import pytest
import torch
from mmengine.registry import DATASETS, MODELS
from tiny_runs import Line, runner_of
from torch.utils.data import Dataset

mmseg = pytest.importorskip('mmseg.structures')
mmpretrain = pytest.importorskip('mmpretrain.structures')
PixelData = pytest.importorskip('mmengine.structures').PixelData
LABELS = [0, 0, 1, 2, 2, 2, 0, 0]


@DATASETS.register_module(force=True)
class Labeled(Dataset):
    """Numbers with a class, or a mask that has it in half of the pixels and is ignored elsewhere."""

    def __init__(self, is_mask: bool) -> None:
        self.is_mask, self.metainfo = is_mask, dict(classes=tuple('abc'))

    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, index: int) -> dict:
        label = LABELS[index]
        mask = torch.tensor([[label, 255]]).expand(1, 2, 2)
        return dict(x=torch.tensor([float(label)]), data_samples=mmseg.SegDataSample(gt_sem_seg=PixelData(data=mask))
                    if self.is_mask else mmpretrain.DataSample().set_gt_label(label))


class Logits(Line):
    """Has those logits that guess best, plus a multiple of the right class."""

    def __init__(self, loss: dict, shares: list[float], known: list[float]) -> None:
        super().__init__()
        self.loss_module, self.shares, self.known = MODELS.build(loss), torch.tensor(shares), iter(known)

    def forward(self, x, data_samples, mode='loss'):
        labels = torch.stack(list(x))[:, 0].long()
        logits = self.shares.log() + next(self.known) * torch.nn.functional.one_hot(labels, 3)
        return dict(loss=self.loss_module(logits, labels) + 0 * self.linear.weight.sum())


@pytest.mark.parametrize('name, shares, options', [  # of the 8 labels, as the loss smooths and weights them
    ('mmpretrain.LabelSmoothLoss', [.45, .1875, .3625], dict(label_smooth_val=.3)),
    ('mmpretrain.CrossEntropyLoss', [1 / 3] * 3, dict(class_weight=[3., 12., 4.], loss_weight=3.)),
    ('mmseg.CrossEntropyLoss', [1 / 3] * 3, dict(class_weight=[3., 12., 4.], loss_weight=.4)),
    ('mmseg.CrossEntropyLoss', [.5, .125, .375], {}),
    ('LabeledCrossEntropy', [1 / 3] * 3, dict(class_weight=[3., 12., 4.], loss_weight=.4)),
    ('LabeledCrossEntropy', [.5, .125, .375], {})])
@pytest.mark.parametrize('known, steps', [([0.] * 12, [6, 12]), ([0.] * 6 + [2.] * 6, [6]), ([2.] * 12, [])])
def test_a_loss_of_chance_is_told(known, steps, name, shares, options, tmp_path):
    import_module('mmvit_backbones.integrations.linear_decode_head')
    loader = dict(batch_size=8, dataset=dict(type='Labeled', is_mask='mmpretrain' not in name),
                  sampler=dict(type='DefaultSampler'), collate_fn=dict(type='pseudo_collate'))
    runner = runner_of(tmp_path, model=Logits(dict(type=name, **options), shares, known), train_dataloader=loader,
                       train_cfg=dict(by_epoch=True, max_epochs=12),
                       custom_hooks=[dict(type='ChanceLossHook')])
    runner.train()
    log, = Path(tmp_path).glob('*/*.log')
    told = [line for line in log.read_text(encoding='utf-8').splitlines() if 'lower learning rate' in line]
    assert [line.partition('step ')[2].partition(':')[0] for line in told] == list(map(str, steps))
    assert all('WARNING' in line for line in told)
