#!/usr/bin/env python3
"""Writes docs/papers.md: which code computes which equation, figure and table of the papers.

The places are those that docstrings cite, in lines such as ``Paper: arXiv 2402.11301, equation 5.``; the rest is in
papers.yml. The page links to files. As a hook of mkdocs, this script adds the lines of the code instead: they are read
whenever the site is built, so they are never those of an older version.
"""
import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGE, TABLE, PAGE = ROOT / 'mmvit_backbones', Path(__file__).with_name('papers.yml'), ROOT / 'docs/papers.md'
CITED = re.compile(r'^ *Paper: arXiv (\d+\.\d+), (.+)\.$', re.MULTILINE)
HEAD = """# From the paper to the code

Each row is a place of a paper: the formula as published, our code and names, the tests (in `tests`), and the kernels
that run it on a GPU (in `mmvit_backbones`; `–`: PyTorch's). A place has its number where we know it, otherwise the
paper's term; "variants" is the table of settings. The lists tell where the authors' code departs from the paper or
decides what it leaves open; the published weights need it. Lines of code are on the site that `make docs` builds.
Written by `python tools/dev/make_papers.py`.
"""


class Citation(NamedTuple):
    paper: str
    place: str
    name: str  # of the class or function
    path: str  # relative to the package
    lines: tuple[int, int]


def citations() -> list[Citation]:
    """Returns what the docstrings of the package cite."""
    return [citation for path in sorted(PACKAGE.rglob('*.py')) for citation in citations_in(path)]


def citations_in(path: Path) -> Iterator[Citation]:
    for name, node in definitions(ast.parse(path.read_text())):
        for paper, place in CITED.findall(ast.get_docstring(node) or ''):
            lines = node.lineno, node.end_lineno
            yield Citation(paper, place, name, path.relative_to(PACKAGE).as_posix(), lines)


def definitions(parent: ast.AST, prefix: str = '') -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef]]:
    for node in getattr(parent, 'body', []):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield prefix + node.name, node
            yield from definitions(node, f'{prefix}{node.name}.')


def render(with_lines: bool = False) -> str:
    """Returns the page, with links to the files, or with the lines of the code."""
    papers, found = yaml.safe_load(TABLE.read_text()), citations()
    sections = [section(number, paper, found, with_lines) for number, paper in papers.items()]
    return '\n'.join([HEAD, *sections])


def section(number: str, paper: dict, found: list[Citation], with_lines: bool) -> str:
    rows = [row(place, about, [c for c in found if (c.paper, c.place) == (number, place)], with_lines)
            for place, about in paper['places'].items()]
    extent = f', as used by {paper["used_by"]}' if 'used_by' in paper else ''
    unused = [f'Not used: {paper["unused"]}.', ''] if 'unused' in paper else []
    return '\n'.join([
        f'## {paper["name"]}', '',
        f'[arXiv {number}](https://arxiv.org/abs/{number}){extent}; [network]({paper["page"]}).', '',
        '| paper | as published | code | names there | held by | on a GPU |', '|---|---|---|---|---|---|', *rows, '',
        *unused, *(f'- {text}' for text in paper['departs']), ''])


def row(place: str, about: dict, cited: list[Citation], with_lines: bool) -> str:
    code = ', '.join(with_its_lines(citation) if with_lines else as_link(citation) for citation in cited)
    tests, kernels = (', '.join(f'`{path}`' for path in about[key]) for key in ('tests', 'gpu'))
    return f'| {place} | {about["formula"]} | {code} | {about["symbols"]} | {tests} | {kernels or "–"} |'


def as_link(citation: Citation) -> str:
    return f'[`{citation.name}`](../mmvit_backbones/{citation.path})'


def with_its_lines(citation: Citation) -> str:
    first, last = citation.lines
    return f'`{citation.name}` in `{citation.path}`, lines {first}–{last}'


def on_page_markdown(markdown: str, page, **_) -> str:
    return render(with_lines=True) if page.file.src_uri == PAGE.name else markdown


if __name__ == '__main__':
    PAGE.write_text(render())
