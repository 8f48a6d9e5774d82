"""Recognizes folders of detection data in the formats of other programs, which supervision converts."""
import os.path as osp
import re
from collections.abc import Iterator
from glob import escape, iglob
from itertools import islice

READ = 20  # files of each pattern; those of images without objects are empty
YOLO = 'labels/*.txt', 'labels/*/*.txt', '*/labels/*.txt', '*.txt', '*/*.txt'
VOC = 'Annotations/*.xml', '*/Annotations/*.xml', '*/*/Annotations/*.xml', '*.xml', '*/*.xml'
ROBOFLOW = '_annotations.coco.json', '*/_annotations.coco.json'
OWN = dict(coco_folder='annotations/instances*.json', seg_folder='classes.txt')


def other_format(argument: str, folder: str) -> str:
    """Returns what converts a folder that was passed as ``argument`` and is in another format; empty if it is not."""
    if argument in OWN and any(_matches(folder, OWN[argument])):
        return ''
    if any(re.match(r'\s*\d+(\s+-?[\d.]+(e-?\d+)?){4,}\s*$', line) for line in _first_lines(folder, YOLO)):
        name, reader, arguments = "YOLO's", 'from_yolo', 'IMAGES, LABELS, DATA_YAML'
    elif any('<annotation' in line for line in _first_lines(folder, VOC)):
        name, reader, arguments = "Pascal VOC's", 'from_pascal_voc', 'IMAGES, ANNOTATIONS'
    elif any(_matches(folder, *ROBOFLOW)):
        name, reader, arguments = "Roboflow's", 'from_coco', 'IMAGES, JSON_FILE'
    else:
        return ''
    return (f'{folder} is in {name} format; supervision (pip install supervision) converts it to the folder of '
            f"--coco-folder: supervision.DetectionDataset.{reader}({arguments}).as_coco('NEW/train', "
            "'NEW/annotations/instances_train.json'), and likewise val")


def _matches(folder: str, *patterns: str) -> Iterator[str]:
    for pattern in patterns:
        yield from islice(iglob(osp.join(escape(folder), pattern)), READ)


def _first_lines(folder: str, patterns: tuple[str, ...]) -> Iterator[str]:
    """Yields the first two lines of files, in one; a file of XML may begin with its version."""
    for path in _matches(folder, *patterns):
        if osp.isfile(path):
            with open(path, encoding='utf-8', errors='replace') as file:
                lines = file.readline(1000), file.readline(1000)
            yield lines[0] if path.endswith('.txt') else ''.join(lines)
