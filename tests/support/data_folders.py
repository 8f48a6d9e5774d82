"""Changes files of small data folders in tests."""
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmvit.folders import FolderData, read_folder


def damage(path: Path, kind: str) -> None:
    """Replaces an image by its first half, nothing, or text, or damages the Huffman tables of a JPEG file."""
    content = path.read_bytes()
    at = content.find(b'\xff\xc4') + 5
    tables = content[:at] + bytes([200] * 8) + content[at + 8:]
    path.write_bytes(dict(half=content[:len(content) // 2], empty=b'', text=b'not an image\n', tables=tables)[kind])


def edit(file: Path, change: Callable[[dict], object]) -> None:
    """Changes the content of a JSON file."""
    content = json.loads(file.read_text(encoding='utf-8'))
    change(content)
    file.write_text(json.dumps(content), encoding='utf-8')


def checked_folder(argument: str, folder: str | Path, **options: Any) -> FolderData:
    """Returns the data sets of a folder, whose annotations and files are right."""
    data = read_folder(argument, folder, **options)
    data.check()
    return data
