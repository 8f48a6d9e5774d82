"""Tables of figures: rows are dicts, whose keys are the columns, as text in Markdown; and of metrics."""
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmvit_backbones.utils.messages import markdown_table

from .shell import console_of

if TYPE_CHECKING:
    from rich.table import Table

Rows = Sequence[Mapping[str, Any]]
NO_OBJECTS = -1  # pycocotools' value, e.g. of data without small objects
PIPED = 200  # columns of a table that is not printed to a terminal
PLAIN: Any = dict(box=None, header_style='bold')  # style of rich's tables


def as_markdown(rows: Rows) -> str:
    """Returns rows as a table in Markdown, of the columns that have a value, where numbers have four digits."""
    columns = list(dict.fromkeys(name for row in rows for name, value in row.items() if value is not None))
    return markdown_table(columns, ([cell_of(row.get(name)) for name in columns] for row in rows))


def cell_of(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.4g}'
    return '' if value is None else f'{value:,}' if isinstance(value, int) else str(value)


def show_metrics(metrics: Mapping[str, float]) -> None:
    """Prints a table of metrics, without those of sizes of objects that the data lack."""
    from rich.markup import escape
    from rich.table import Table
    table = Table('metric', **PLAIN)
    table.add_column('value', justify='right')
    for name, value in metrics.items():
        if value != NO_OBJECTS:
            table.add_row(escape(name), f'{value:.4g}')
    print_table(table)


def print_table(table: 'Table') -> None:
    """Prints a table of rich as wide as the terminal, or a pipe takes it."""
    console = console_of(sys.stdout)
    console.print(table, width=console.width if console.is_terminal else PIPED)
