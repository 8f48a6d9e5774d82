"""Prints the tests to run after a change of a file, from the table in CONTRIBUTING.md.

    python tools/dev/tests_of.py mmvit_backbones/layers/attention.py
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    path = Path(sys.argv[1]).resolve()
    if not path.exists() or ROOT not in path.parents:
        sys.exit(f'error: FILE={sys.argv[1]} must be a file or a folder of this checkout')
    try:
        print(*tests_of(path.relative_to(ROOT)))
    except LookupError as error:
        sys.exit(f'error: FILE={error.args[0]}')


def tests_of(path: Path) -> list[str]:
    """Returns the tests in the table's row for a file or its nearest folder; for a test file, the file itself.

    Raises:
        LookupError: If the table has no row for the file or a folder that contains it.
    """
    if path.name.startswith('test_'):
        return [str(path)]
    tests = {changed: row for row in table() for changed in row[0]}
    for place in (path, *path.parents):
        if str(place) in tests:
            return tests[str(place)][1]
    raise LookupError(f'{path} must be in the table of CONTRIBUTING.md, which contains {", ".join(tests)}')


def table() -> list[tuple[list[str], list[str]]]:
    """Returns the rows of the table: changed files or folders, and their tests."""
    lines = (ROOT / 'CONTRIBUTING.md').read_text().splitlines()
    rows = [line.split('|')[1:3] for line in lines if line.startswith('| `')]
    return [(re.findall('`([^`]+)`', changed), re.findall('`([^`]+)`', tests)) for changed, tests in rows]


if __name__ == '__main__':
    main()
