"""Draws the imports between the package's components (top-level folders and modules) in docs/architecture.md.

    python tools/dev/draw_imports.py
"""
import ast
from importlib.util import resolve_name
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'mmvit_backbones'
PAGE = ROOT / 'docs/architecture.md'
MARKS = '<!-- imports: drawn by tools/dev/draw_imports.py -->\n', '<!-- end of imports -->\n'
MODULES = {'.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
           for path in sorted(PACKAGE.rglob('*.py'))}


def main() -> None:
    PAGE.write_text(page())


def page() -> str:
    """Returns the page with an up-to-date flowchart."""
    start, end = MARKS
    before, rest = PAGE.read_text().split(start)
    return before + start + flowchart() + end + rest.split(end)[1]


def flowchart() -> str:
    """Returns a Mermaid flowchart with an arrow for each import, except those that longer paths imply."""
    imports = {component: imported_components(component) for component in dict.fromkeys(map(component_of, MODULES))}
    lines = []
    for component, others in imports.items():
        implied = {far for near in others for far in reached(imports, near)}
        lines += [f'  {node(component)} --> {node(other)}' for other in sorted(others - implied)]
    return '\n'.join(['', '```mermaid', 'flowchart TD', *sorted(lines), '```', '', ''])


def node(component: str) -> str:
    """Returns the Mermaid node of a component."""
    if not component:
        return 'package["mmvit_backbones/__init__.py"]'
    return (f'{component}["{component}/"]' if (PACKAGE / component).is_dir() else
            f'{component.strip("_")}["{component}.py"]')


def reached(imports: dict[str, set[str]], component: str) -> set[str]:
    """Returns the components that a component imports directly or indirectly."""
    return imports[component].union(*(reached(imports, other) for other in imports[component]))


def imported_components(component: str) -> set[str]:
    modules = [module for module in MODULES if component_of(module) == component]
    return {component_of(other) for module in modules for other in imported(module)} - {component}


def imported(module: str) -> set[str]:
    """Returns the modules of the package that a module imports, including imports inside functions."""
    path, found = MODULES[module], set()
    package = module if path.name == '__init__.py' else module.rpartition('.')[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name('.' * node.level + (node.module or ''), package)
            found |= {f'{base}.{name.name}' if f'{base}.{name.name}' in MODULES else base for name in node.names}
    return found & MODULES.keys()


def component_of(module: str) -> str:
    """Returns the top-level folder or module that contains a module, or '' for the package itself."""
    return [*module.split('.'), ''][1]


if __name__ == '__main__':
    main()
