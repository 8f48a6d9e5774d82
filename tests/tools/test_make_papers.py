"""docs/papers.md has what docstrings cite, and what tools/dev/papers.yml adds to it."""
import importlib.util
import re

import pytest
import yaml
from helpers import ROOT

from mmvit_backbones import backbones

spec = importlib.util.spec_from_file_location('make_papers', ROOT / 'tools/dev/make_papers.py')
make_papers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_papers)
TABLE = yaml.safe_load(make_papers.TABLE.read_text())
PLACES = {(number, place): about for number, paper in TABLE.items() for place, about in paper['places'].items()}
CITATIONS = make_papers.citations()
NETWORKS = [name for name in backbones.__all__ if name != 'Backbone']


def test_docstrings_cite_the_places_in_the_table():
    assert PLACES.keys() <= {(citation.paper, citation.place) for citation in CITATIONS}


@pytest.mark.parametrize('number, place', PLACES)
def test_symbols_in_the_table_exist(number, place):
    cited = [citation for citation in CITATIONS if (citation.paper, citation.place) == (number, place)]
    code = ''.join((make_papers.PACKAGE / citation.path).read_text() for citation in cited)
    names = re.findall(r'`([\w.]+)`', PLACES[number, place]['symbols'])
    assert not [name for name in names if not re.search(rf'\b{re.escape(name)}\b', code)]


@pytest.mark.parametrize('name', NETWORKS)
def test_every_network_cites_its_paper(name):
    assert make_papers.CITED.search(getattr(backbones, name).__doc__)
