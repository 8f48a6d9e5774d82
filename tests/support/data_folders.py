"""Changes files of small data folders in tests."""
import json
from collections.abc import Callable
from pathlib import Path


def damage(path: Path, kind: str) -> None:
    """Replaces an image by its first half, nothing, or text."""
    content = path.read_bytes()
    path.write_bytes(dict(half=content[:len(content) // 2], empty=b'', text=b'not an image\n')[kind])


def edit(file: Path, change: Callable[[dict], object]) -> None:
    """Changes the content of a JSON file."""
    content = json.loads(file.read_text(encoding='utf-8'))
    change(content)
    file.write_text(json.dumps(content), encoding='utf-8')
