"""docs/papers.md agrees with the docstrings that cite papers, and with the table of the places."""
import importlib.util

import yaml
from helpers import ROOT

spec = importlib.util.spec_from_file_location('make_papers', ROOT / 'tools/dev/make_papers.py')
make_papers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_papers)
TABLE = yaml.safe_load(make_papers.TABLE.read_text())


def test_page_is_current():
    assert make_papers.PAGE.read_text() == make_papers.render(), 'run python tools/dev/make_papers.py'


def test_docstrings_and_table_name_the_same_places():
    cited = {(citation.paper, citation.place) for citation in make_papers.citations()}
    assert cited == {(number, place) for number, paper in TABLE.items() for place in paper['places']}


def test_what_the_table_names_exists():
    paths = {f'docs/{paper["page"]}' for paper in TABLE.values()}
    paths |= {test for paper in TABLE.values() for about in paper['places'].values() for test in about['tests']}
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_lines_are_those_of_the_code():
    for citation in make_papers.citations():
        first, last = citation.lines
        code = (make_papers.PACKAGE / citation.path).read_text().splitlines()[first - 1:last]
        kind, name = code[0].split()[:2]
        assert kind in ('class', 'def') and name.startswith(citation.name.rpartition('.')[2])
        assert f'Paper: arXiv {citation.paper}, {citation.place}.' in '\n'.join(code)


def test_pages_of_networks_lead_to_the_papers():
    assert not [paper['page'] for paper in TABLE.values()
                if '(papers.md' not in (ROOT / 'docs' / paper['page']).read_text()]
