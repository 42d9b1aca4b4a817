"""Small tables on standard output: devices, recipes, profiles, artifacts, facts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from host.report.cells import clean_text
from host.report.exporting import open_console


def print_rows(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], console: Console | None = None
) -> None:
    """Print a titled table; whatever a cell holds is shown as plain text, None as `-`."""
    shown = console or open_console(sys.stdout)
    table = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    listed = list(rows)
    for row in listed:
        table.add_row(*(Text(clean_text(cell)) for cell in row))
    shown.print(table if listed else Text(f"{title}: none"))


def print_facts(title: str, facts: Mapping[str, Any], console: Console | None = None) -> None:
    """Print names and values below each other; what is nested is named with dots."""
    print_rows(title, ("fact", "value"), flatten_facts(facts), console)


def flatten_facts(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Every fact with its full name, lists of plain values in one line."""
    lines: list[tuple[str, str]] = []
    for name, value in facts.items():
        whole = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            lines += flatten_facts(value, f"{whole}.")
        elif isinstance(value, list | tuple):
            lines += _flatten_list(whole, value)
        else:
            lines.append((whole, clean_text(None if value == {} else value)))
    return lines


def _flatten_list(name: str, values: Sequence[Any]) -> list[tuple[str, str]]:
    if not any(isinstance(value, Mapping) for value in values):
        return [(name, ", ".join(clean_text(value) for value in values) or clean_text(None))]
    return flatten_facts({f"{name}[{at}]": value for at, value in enumerate(values)})
