"""Parts of messages: similar names and tables."""
from collections.abc import Iterable
from difflib import get_close_matches


def near_names(name: str, known: Iterable[str], kind: str = 'names') -> str:
    """Returns the end of an error message about an unknown name: up to three similar names or an empty string."""
    near = get_close_matches(name, list(known), n=3)
    return f'; similar {kind}: {", ".join(near)}' if near else ''


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Returns a Markdown table."""
    head = list(head)
    return '\n'.join(f'| {" | ".join(row)} |' for row in (head, ['---'] * len(head), *rows))
