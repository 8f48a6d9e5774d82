"""Shows how the names and shapes in the checkpoints of a tiny network differ from those of another commit.

    python tools/dev/diff_state_dicts.py ReSwin HEAD~1
"""
import difflib
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys
sys.path[:0] = [sys.argv[1], *(f'{sys.argv[1]}/tests{folder}' for folder in ('', '/support'))]
from helpers import fresh_model
for name, x in fresh_model(sys.argv[2]).state_dict().items():
    print(name, tuple(x.shape))
"""


def state_dict(tree: Path, network: str) -> list[str]:
    """Returns the names and shapes of a network in a tree of files."""
    return subprocess.run([sys.executable, '-c', CODE, str(tree), network], check=True,
                          capture_output=True, text=True).stdout.splitlines()


def main(network: str, commit: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(['git', 'archive', commit, 'mmvit_backbones', 'mmvit', 'tests'], cwd=ROOT, check=True,
                                 capture_output=True).stdout
        subprocess.run(['tar', '-x', '-C', folder], input=archive, check=True)
        before, now = (state_dict(tree, network) for tree in (Path(folder), ROOT))
    print(*difflib.unified_diff(before, now, commit, 'now', lineterm=''), sep='\n')


if __name__ == '__main__':
    main(*sys.argv[1:])
