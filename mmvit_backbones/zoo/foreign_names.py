"""Says whose names the weights in a file seem to have, if no network here has them."""
import re
from collections.abc import Iterable

CLASSIFIER = 'pass the file of its backbone alone, trained as a classifier'
# Pattern of a name -> whose it is, and what to do; the first that matches a name counts.
FOREIGN = {
    r'backbone\.body\.': ("torchvision's detectors", CLASSIFIER),
    r'backbone\.bottom_up\.': ("Detectron2's detectors", CLASSIFIER),
    r'(neck|rpn_head|roi_head|bbox_head)\.': ("OpenMMLab's detectors with another backbone", CLASSIFIER),
    r'(decode_head|auxiliary_head)\.': ("OpenMMLab's segmenters with another backbone", CLASSIFIER),
    r'model\.\d+\.': ("Ultralytics' models", CLASSIFIER),
    r'features\.\d+\.': ("torchvision's classifiers", 'pass the same weights as timm has them'),
    r'(\w+\.)?(embeddings\.|encoder\.layers?\.\d+\.)': ("Hugging Face's Transformers", 'pass them as timm has them'),
    r'(blocks|stages|layers?)\.?\d+\.': ("timm's or the authors' of another network", 'pass those of this network')}


def describe_names(names: Iterable[str]) -> str:
    """Returns the end of an error about names that a network lacks: whose they seem to be, and a remedy; or nothing."""
    names = list(names)
    found = (told for pattern, told in FOREIGN.items() if any(re.match(pattern, name) for name in names))
    return '; its names seem to be those of {}: {}'.format(*told) if (told := next(found, None)) else ''
