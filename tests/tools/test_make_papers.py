"""docs/papers.md has what docstrings cite, and what tools/dev/papers.yml adds to it."""
import importlib.util
import re

import pytest
import yaml
from helpers import ROOT
from markdown.extensions.toc import slugify

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


def test_papers_and_places_without_an_entry_are_on_the_page():
    cited = make_papers.Citation('1', 'equation 2', 'Block', 'backbones/new.py')
    section = make_papers.section('1', dict(name='New', page='new.md'), [cited])
    assert '## New' in section and '[network](new.md)' in section
    assert re.search(r'^\| equation 2 \|.*`backbones\.new\.Block`', section, flags=re.MULTILINE)


@pytest.mark.parametrize('number, place', PLACES)
def test_symbols_in_the_table_exist(number, place):
    cited = [citation for citation in CITATIONS if (citation.paper, citation.place) == (number, place)]
    code = ''.join((make_papers.PACKAGE / citation.path).read_text() for citation in cited)
    names = re.findall(r'`([\w.]+)`', PLACES[number, place]['symbols'])
    assert not [name for name in names if not re.search(rf'\b{re.escape(name)}\b', code)]


@pytest.mark.parametrize('name', NETWORKS)
def test_every_network_cites_its_paper(name):
    assert make_papers.CITED.search(getattr(backbones, name).__doc__)


@pytest.mark.parametrize('number', TABLE)
def test_page_of_the_network_links_its_paper(number):
    page = (ROOT / 'docs' / TABLE[number]['page']).read_text()
    assert f'(papers.md#{slugify(TABLE[number]["name"], "-")})' in page
