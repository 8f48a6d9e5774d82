"""Reads the pinned requirements for each supported version of Python."""
from helpers import ROOT
from packaging.requirements import Requirement

PYTHONS = '3.10.0', '3.11.0', '3.12.0', '3.13.0'


def pins_for(python: str, files: list[str]) -> list[Requirement]:
    """Returns the pins for a version of Python in files of ``requirements/``."""
    environment = dict(python_version=python.rpartition('.')[0], python_full_version=python)
    texts = (line.split('#')[0].strip() for name in files
             for line in (ROOT / f'requirements/{name}.txt').read_text().splitlines())
    pins = [Requirement(text) for text in texts if text]
    return [pin for pin in pins if pin.marker is None or pin.marker.evaluate(environment)]
