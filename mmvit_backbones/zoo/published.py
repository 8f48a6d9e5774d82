"""Published results, nearly all by the authors; none are measured by this package.

``published.csv`` has one value per row, with its source; notes point out contradictions and missing details.
Parameters are in millions, and FLOPs in billions (multiply-adds for classifiers). Throughputs have the published units.
"""
import csv
from pathlib import Path

with Path(__file__).with_suffix('.csv').open(newline='', encoding='utf-8') as file:
    # All values are strings. The columns are variant, config (may be empty), key, value, setting, source and note.
    PUBLISHED = list(csv.DictReader(file))
RESULTS: dict[str, dict[str, float]] = {}  # by config and key; of several values, the first
for line in PUBLISHED:
    if line['config']:
        RESULTS.setdefault(line['config'], {}).setdefault(line['key'], float(line['value']))
