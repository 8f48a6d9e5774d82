"""Addresses of the authors' checkpoints, as published. The URLs are unverified.

``weights.csv`` has one file per line. Addresses are separated by spaces; files that no network here reads have no tag.
The authors publish no sizes or hashes, and no addresses for Swin-VSA, RegionViT's + classifiers, ViTAEv2's detectors
and others.
"""
import csv
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

HOSTS = {
    'github.com': 'GitHub',
    'drive.google.com': 'Google Drive',
    '1drv.ms': 'OneDrive',
    'pan.baidu.com': 'Baidu',
}


@dataclass(frozen=True)
class Weights:
    """A published checkpoint."""
    variant: str  # name of the network
    tag: str  # which of its checkpoints: image side, training data or task
    addresses: tuple[str, ...]  # first those that need no browser
    access_code: str = ''  # for Baidu
    member: str = ''  # part of the file name, if an address is a folder with several checkpoints
    sha256: str = ''  # of the file, if known
    suffix: str = '.pth'  # of the file
    remark: str = ''  # for the user, logged when the file is downloaded

    @property
    def name(self) -> str:
        """Returns the network's name and the tag, which is omitted if it is ``'224'``."""
        return self.variant if self.tag in ('', '224') else f'{self.variant}_{self.tag}'

    @property
    def file_name(self) -> str:
        """Returns the file name in the cache and on a mirror."""
        return self.name + self.suffix

    @property
    def host(self) -> str:
        return host_of(self.addresses[0])


def host_of(address: str) -> str:
    """Returns the host of an address: a name of ``HOSTS``, or the host name."""
    machine = urlparse(address).hostname or ''
    return HOSTS.get(machine, machine)


with Path(__file__).with_suffix('.csv').open(newline='', encoding='utf-8') as file:
    _FILES = [Weights(**{**row, 'addresses': tuple(row['addresses'].split())}) for row in csv.DictReader(file)]
WEIGHTS = {weights.name: weights for weights in _FILES if weights.tag}
OTHER_FILES = {weights.name: weights for weights in _FILES if not weights.tag}  # files that no network here reads
