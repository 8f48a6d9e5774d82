import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import Dataset

from .registry import DATASETS, METRICS, MODELS


@DATASETS.register_module()
class Spots(Dataset):
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        image, place = torch.zeros(3, 64, 64), torch.tensor([7 * index % 64, 13 * index % 64])
        image[:, place[0], place[1]] = 255
        return dict(inputs=image, data_samples=place / 64)


@MODELS.register_module()
class SpotModel(BaseModel):
    def __init__(self, backbone: dict, channels: int) -> None:
        super().__init__()
        self.backbone, self.head = MODELS.build(backbone), nn.Linear(channels, 2)

    def forward(self, inputs: list, data_samples: list, mode: str):
        found, places = self.head(self.backbone(torch.stack(inputs))[-1].mean((2, 3))), torch.stack(data_samples)
        return dict(loss=(found - places).square().mean()) if mode == 'loss' else list(zip(found, places))


@METRICS.register_module()
class Distance(BaseMetric):
    def process(self, data_batch: dict, data_samples: list) -> None:
        self.results += [float((found - place).norm()) for found, place in data_samples]

    def compute_metrics(self, results: list) -> dict:
        return dict(distance=sum(results) / len(results))
