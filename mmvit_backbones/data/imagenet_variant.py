"""Data sets with ImageNet's classes: ImageNet-V2, -A, -R, -Sketch and -C, in their authors' layouts."""
import os
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

SUFFIXES = ('.jpg', '.jpeg', '.png')


@DATASETS.register_module()
class ImageNetVariant(BaseDataset):
    """Loads images from folders named after ImageNet-1k's classes, some of which may be missing.

    The class folders may be at any depth. Their names are WordNet ids (``n01440764``) or, as in ImageNet-V2, class
    indices from 0 to 999. ``metainfo['labels']`` lists the indices of the classes that have images.

    Args:
        data_root (str): Folder that contains the class folders.
        **kwargs: Arguments of MMEngine's ``BaseDataset``.

    Raises:
        ValueError: If there are no images, or a folder with images is not named after a class.
    """

    data_root: str

    def __init__(self, data_root: str, **kwargs) -> None:
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        wnids = Path(__file__).with_name('imagenet_wnids.txt').read_text().split()
        label_of = {name: label for label, wnid in enumerate(wnids) for name in (wnid, str(label))}
        images = []
        for folder, _, names in os.walk(self.data_root):
            names = [name for name in names if name.lower().endswith(SUFFIXES)]
            label = label_of.get(os.path.basename(folder))
            if names and label is None:
                raise ValueError(f'{self.data_root} has images in {folder}; folder names must be ImageNet-1k classes: '
                                 'WordNet ids such as n01440764, or indices from 0 to 999')
            images += [dict(img_path=os.path.join(folder, name), gt_label=label) for name in names]
        if not images:
            raise ValueError(f'{self.data_root} has no images ({", ".join(SUFFIXES)})')
        self._metainfo['labels'] = sorted({image['gt_label'] for image in images})
        return sorted(images, key=lambda image: image['img_path'])
