"""URLs of the files that the authors publish, unverified; the remark of a row says if its URL is not as published.

``weights.csv`` has one file per row. Several URLs are separated by spaces. Files that ``get_model`` cannot load have no
tag. The authors publish no file sizes or hashes, and no URLs for some checkpoints, such as those of Swin-VSA, the
RegionViT+ classifiers and ViTAEv2's detectors.
"""
import csv
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

FOLDER = "Google Drive's folders"
HOSTS = {
    'github.com': 'GitHub',
    'drive.google.com': 'Google Drive',
    '1drv.ms': 'OneDrive',
    'pan.baidu.com': 'Baidu',
}
BY_BROWSER = {  # host -> what a person has to do on its page
    FOLDER: 'download the checkpoint of this network',  # one may hold those of several
    # Microsoft's API for shares wants a login since 2024 (github.com/rclone/rclone/issues/7898).
    'OneDrive': 'click "Download"',
    'Baidu': 'enter the access code {code}, log in, and click "下载" (download)',
}


@dataclass(frozen=True)
class PublishedFile:
    """A published file: a checkpoint, or the token labels of ImageNet-1k."""
    variant: str  # name of the network
    tag: str  # image side, training data or task of the checkpoint
    urls: tuple[str, ...]  # URLs; those that do not require a browser come first
    access_code: str = ''  # for Baidu's URLs
    suffix: str = '.pth'
    remark: str = ''  # logged when the file is downloaded

    @property
    def name(self) -> str:
        """Returns the network's name with the tag, which is omitted if it is empty or ``'224'``."""
        return self.variant if self.tag in ('', '224') else f'{self.variant}_{self.tag}'

    @property
    def file_name(self) -> str:
        """Returns the name of the file in the cache and on a mirror."""
        return self.name + self.suffix


def host_of(url: str) -> str:
    """Returns the service that hosts a URL according to ``HOSTS``, or the URL's host name for other hosts."""
    machine = urlparse(url).hostname or ''
    return FOLDER if '/drive/folders/' in url else HOSTS.get(machine, machine)


with Path(__file__).with_suffix('.csv').open(newline='', encoding='utf-8') as file:
    _FILES = [PublishedFile(**{**row, 'urls': tuple(row['urls'].split())}) for row in csv.DictReader(file)]
WEIGHTS = {weights.name: weights for weights in _FILES if weights.tag}
OTHER_FILES = {weights.name: weights for weights in _FILES if not weights.tag}  # not loaded by get_model
