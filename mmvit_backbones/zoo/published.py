"""Published results of the authors. None is measured here.

``published.csv`` has one figure per line with its source; notes name contradictions between lines.
Parameters are in millions, FLOPs in 1e9 (multiply-adds for classifiers), rates of images as printed.
"""
import csv
from pathlib import Path

with Path(__file__).with_suffix('.csv').open(newline='', encoding='utf-8') as file:
    # The lines, as text: variant, config (or nothing), key, value, setting, source and note.
    FIGURES = list(csv.DictReader(file))
ACCURACIES = {'top1', 'top5', 'top1_22k', 'top5_22k', 'real', 'real_22k', 'box', 'mask', 'ade20k', 'ade20k_ms',
              'cityscapes', 'cityscapes_ms', 'ap10k'}
# Accuracies by config and key; of those that contradict each other, the first.
RESULTS = {}
for _line in FIGURES:
    if _line['config'] and _line['key'] in ACCURACIES:
        RESULTS.setdefault(_line['config'], {}).setdefault(_line['key'], float(_line['value']))
