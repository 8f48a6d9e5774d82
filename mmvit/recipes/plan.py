"""What the settings of a fine-tuning are made from: its arguments, with what is settled of them."""
import math
from dataclasses import dataclass

from ..fine_tuning import FineTuning
from ..folders import FolderData
from .networks import Network

MOST_EPOCHS, FEWEST_EPOCHS, FEW_IMAGES = 100, 12, 1000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a fine-tuning.

    Args:
        given (FineTuning): Its arguments, with a work dir.
        network (Network): Its network.
        data (FolderData): Its data.
        size (tuple[int, int]): Height and width of the crops in pixels; for detectors the largest short and long side
            of the images, which keep their ratio.
        batch_size (int): Images per process and step.
        precision (str): 'float32', 'float16' or 'bfloat16'.
    """

    given: FineTuning
    network: Network
    data: FolderData
    size: tuple[int, int]
    batch_size: int
    precision: str

    @property
    def images_per_step(self) -> int:
        return self.batch_size * self.given.processes

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.data.count('train') / self.images_per_step)

    @property
    def epochs(self) -> int:
        if self.given.iters:
            return math.ceil(self.given.iters / self.steps_per_epoch)
        return self.given.epochs or choose_epochs(self.data.count('train'))

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch


def choose_epochs(images: int) -> int:
    """Returns the number of epochs of a fine-tuning: 100 for up to 1000 images, then less, but at least 12."""
    epochs = round(MOST_EPOCHS * math.sqrt(FEW_IMAGES / max(images, FEW_IMAGES)))
    return max(FEWEST_EPOCHS, epochs)
