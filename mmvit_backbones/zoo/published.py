"""Published results, nearly all by the authors; none are measured by this package.

``published.csv`` has one value per row, with its source; notes point out contradictions and missing details.
Parameters are in millions, and FLOPs in billions (multiply-adds for classifiers). Throughputs have the published units.
"""
import csv
from pathlib import Path


def results_of(lines: list[dict[str, str]]) -> dict[str, dict[str, float]]:
    """Returns the values by config and key. If several values are published, the first is used."""
    results = {}
    for line in lines:
        if line['config']:
            results.setdefault(line['config'], {}).setdefault(line['key'], float(line['value']))
    return results


with Path(__file__).with_suffix('.csv').open(newline='', encoding='utf-8') as file:
    # All values are strings. The columns are variant, config (may be empty), key, value, setting, source and note.
    PUBLISHED = list(csv.DictReader(file))
RESULTS = results_of(PUBLISHED)
