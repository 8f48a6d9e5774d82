"""Addresses of the authors' checkpoints, as their documents print them. None of them was opened.

``weights.csv`` has one file per line; addresses are separated by blanks, and what no network here reads has no tag. No
document states sizes or hashes, and no address is known for what is missing here: Swin-VSA, RegionViT's + models,
ViTAEv2's detectors and others.
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
    tag: str  # which of its checkpoints: the side of the images, what it was trained on or for
    addresses: tuple[str, ...]  # those that need no browser first
    access_code: str = ''  # what Baidu asks for
    member: str = ''  # part of the file's name, where an address is a folder with several checkpoints
    sha256: str = ''  # of the file, where it is known
    suffix: str = '.pth'  # of the file
    remark: str = ''  # what is to be known of it

    @property
    def name(self) -> str:
        """What it is called where there are several networks; ``'224'`` is the rule and goes without saying."""
        return self.variant if self.tag in ('', '224') else f'{self.variant}_{self.tag}'

    @property
    def file_name(self) -> str:
        """What the file is called in the cache and on a mirror."""
        return self.name + self.suffix

    @property
    def host(self) -> str:
        return host_of(self.addresses[0])


def host_of(address: str) -> str:
    """Who serves an address: one of ``HOSTS``, or the name of the machine."""
    machine = urlparse(address).hostname or ''
    return HOSTS.get(machine, machine)


with Path(__file__).with_suffix('.csv').open(newline='', encoding='utf-8') as file:
    _FILES = [Weights(**{**row, 'addresses': tuple(row['addresses'].split())}) for row in csv.DictReader(file)]
WEIGHTS = {weights.name: weights for weights in _FILES if weights.tag}
OTHER_FILES = {weights.name: weights for weights in _FILES if not weights.tag}  # what no network here reads
