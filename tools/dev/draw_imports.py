"""Draws which folders of the package import which, into docs/architecture.md.

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
    """Returns the page with the picture of today's imports."""
    start, end = MARKS
    before, rest = PAGE.read_text().split(start)
    return before + start + picture() + end + rest.split(end)[1]


def picture() -> str:
    """Returns a flowchart with an arrow for each import that no longer path of arrows implies."""
    imports = {room: imported_rooms(room) for room in dict.fromkeys(map(room_of, MODULES))}
    lines = []
    for room, others in imports.items():
        implied = {far for near in others for far in reached(imports, near)}
        lines += [f'  {node(room)} --> {node(other)}' for other in sorted(others - implied)]
    return '\n'.join(['', '```mermaid', 'flowchart TD', *sorted(lines), '```', '', ''])


def node(room: str) -> str:
    """Returns the node of a folder, of a module at the top level, or of the package itself."""
    if not room:
        return 'package["mmvit_backbones/__init__.py"]'
    return f'{room}["{room}/"]' if (PACKAGE / room).is_dir() else f'{room.strip("_")}["{room}.py"]'


def reached(imports: dict[str, set[str]], room: str) -> set[str]:
    """Returns the rooms that a room imports, directly or through others."""
    return imports[room].union(*(reached(imports, other) for other in imports[room]))


def imported_rooms(room: str) -> set[str]:
    modules = [module for module in MODULES if room_of(module) == room]
    return {room_of(other) for module in modules for other in imported(module)} - {room}


def imported(module: str) -> set[str]:
    """Returns the modules of the package that a module imports, in functions as well."""
    path, found = MODULES[module], set()
    package = module if path.name == '__init__.py' else module.rpartition('.')[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name('.' * node.level + (node.module or ''), package)
            found |= {f'{base}.{name.name}' if f'{base}.{name.name}' in MODULES else base for name in node.names}
    return found & MODULES.keys()


def room_of(module: str) -> str:
    """Returns the folder or module at the top level that a module is in; '' is the package itself."""
    return [*module.split('.'), ''][1]


if __name__ == '__main__':
    main()
