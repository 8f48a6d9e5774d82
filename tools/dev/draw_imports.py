"""Draws the imports between components, the top-level folders and modules of both packages, in docs/images/imports.svg.

    python tools/dev/draw_imports.py
"""
import ast
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import networkx

ROOT = Path(__file__).resolve().parents[2]
LIBRARY, COMMAND = 'mmvit_backbones', 'mmvit'
FIGURE = ROOT / 'docs/images/imports.svg'
MODULES = {'.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
           for package in (LIBRARY, COMMAND) for path in sorted((ROOT / package).rglob('*.py'))}
LETTER, HEIGHT, ROW = 9, 30, 70  # widest letter, height of a box, and from one row of boxes to the next, in pixels
FIGURE_WIDTH = 900


def main() -> None:
    FIGURE.write_text(figure(arrows({name: imported_components(name) for name in map(component_of, MODULES)})),
                      encoding='utf-8')


def arrows(imports: dict[str, set[str]]) -> networkx.DiGraph:
    """Returns a graph with an arrow for each import, except those that longer paths imply."""
    return networkx.transitive_reduction(networkx.DiGraph({name: sorted(imports[name]) for name in sorted(imports)}))


def figure(graph: networkx.DiGraph) -> str:
    """Returns an SVG whose rows are the generations of a graph: each box is above all that it imports."""
    connected = graph.subgraph(name for name in graph if graph.degree(name))
    rows = [sorted(row) for row in networkx.topological_generations(connected)]
    place = {name: (FIGURE_WIDTH * (column + 0.5) / len(row), ROW * number + HEIGHT)
             for number, row in enumerate(rows) for column, name in enumerate(row)}
    lines = [f'<line x1="{place[start][0]:.0f}" y1="{place[start][1] + HEIGHT / 2:.0f}" x2="{place[end][0]:.0f}" '
             f'y2="{place[end][1] - HEIGHT / 2 - 2:.0f}" stroke="#555" marker-end="url(#arrow)"/>'
             for start, end in sorted(graph.edges)]
    widths = {name: LETTER * len(label(name)) + 16 for name in place}
    boxes = [f'<rect x="{x - widths[name] / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{widths[name]}" height="{HEIGHT}" '
             f'rx="4" fill="#eef2fb" stroke="#4051b5"/>\n<text x="{x:.0f}" y="{y + 5:.0f}">{label(name)}</text>'
             for name, (x, y) in place.items()]
    return '\n'.join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {FIGURE_WIDTH} {ROW * len(rows)}" '
        f'width="{FIGURE_WIDTH}" font-family="sans-serif" font-size="14" text-anchor="middle">',
        '<marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#555"/></marker>', *lines, *boxes, '</svg>', ''])


def label(component: str) -> str:
    package, _, name = component.rpartition('.')
    if not package:
        return f'{name}/__init__.py'
    file = name if package == LIBRARY else f'{COMMAND}/{name}'
    return f'{file}/' if (ROOT / package / name).is_dir() else f'{file}.py'


def imported_components(component: str) -> set[str]:
    modules = [module for module in MODULES if component_of(module) == component]
    return {component_of(other) for module in modules for other in imported(module)} - {component}


@cache
def imported(module: str) -> set[str]:
    """Returns the modules of both packages that a module imports, including imports inside functions."""
    path, found = MODULES[module], set()
    package = module if path.name == '__init__.py' else module.rpartition('.')[0]
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name('.' * node.level + (node.module or ''), package)
            found |= {f'{base}.{name.name}' if f'{base}.{name.name}' in MODULES else base for name in node.names}
    return found & MODULES.keys()


def component_of(module: str) -> str:
    """Returns the top-level folder or module that contains a module, or the package itself."""
    return '.'.join(module.split('.')[:2])


if __name__ == '__main__':
    main()
