"""Result rows in the format that a command names, to a file or to standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from host.errors import UsageError
from host.report.csv import write_csv, write_csv_lines
from host.report.grid import Grid
from host.report.json import write_json, write_json_value
from host.report.markdown import write_markdown_grids, write_markdown_sections
from host.report.output import open_text
from host.report.parquet import write_parquet, write_parquet_lines
from host.report.view import View, describe_group, make_data_table, make_grid, split_groups, to_json

if TYPE_CHECKING:
    from rich.console import Console

FORMATS = ("table", "json", "csv", "markdown", "parquet")
UNBOUND_WIDTH = 160
"""Columns of a table that no terminal shows, such as the log of a build."""
LEAST_WIDTH = 40
"""On a terminal that is narrower, lines break."""

MOST_READ = 4000
"""So many measurements a table is made of: a hundred times as many as a person looks at."""

Row = Mapping[str, Any]
Rows = Sequence[Row]
STREAMED: dict[str, Callable[[Iterable[Row], Any], None]] = {
    "json": write_json,
    "csv": write_csv,
    "parquet": write_parquet,
}


def write_rows(rows: Iterable[Row], form: str, file: Path | None = None, view: View | None = None) -> None:
    """Write rows as `form`, one of `FORMATS`, in a view; a file appears only when it is whole.

    Formats for programs take plain rows one by one, however many there are. Raises UsageError where Parquet
    would go to a terminal.
    """
    shown = view or View()
    if form == "parquet" and file is None and sys.stdout.isatty():
        raise UsageError("Parquet is no text for a terminal", "Name a file: --output results.parquet")
    if shown == View() and form in STREAMED:
        STREAMED[form](rows, file or _standard_output(form))
    elif form == "table":
        write_table(rows, file or sys.stdout, shown)
    else:
        _write_view(list(rows), form, file or _standard_output(form), shown)


def _standard_output(form: str) -> Any:
    return sys.stdout.buffer if form == "parquet" else sys.stdout


def _write_view(rows: Rows, form: str, out: Any, view: View) -> None:
    if form == "markdown":
        _write_markdown(rows, out, view)
    elif form == "json":
        write_json_value(to_json(rows, view), out)
    elif form == "csv":
        table = make_data_table(rows, view)
        write_csv_lines([name for name, _ in table.columns], table.lines, out)
    else:
        write_parquet_lines(*make_data_table(rows, view), out)


def write_table(rows: Iterable[Row], out: Path | TextIO, view: View | None = None) -> None:
    """Write the table that a terminal shows; as wide as the terminal, or as `UNBOUND_WIDTH`.

    Nobody reads more than `MOST_READ` measurements: a pivot takes all, every other table the first ones.
    """
    # rich: the other formats do without it
    from host.report.table import MAX_LINES, print_lines, print_sections
    from host.report.table_grid import print_grids

    shown = view or View()
    listed = list(rows if shown.pivot else islice(rows, MOST_READ + 1))
    told = listed if shown.pivot else listed[:MOST_READ]
    with open_text(out) as stream:
        console = open_console(stream)
        if told and (shown.pivot or shown.columns):
            print_grids(_make_grids(told, shown, MAX_LINES), console)
        else:
            print_sections(_make_sections(told, shown), console)
        if len(told) < len(listed):
            more = (
                f"Only the first {MOST_READ:,} measurements were looked at; narrow it, or take --format csv."
            )
            print_lines(console, [more], "bold")


def _write_markdown(rows: Rows, out: Path | TextIO, view: View) -> None:
    if rows and (view.pivot or view.columns):
        write_markdown_grids(_make_grids(rows, view), out)
    else:
        write_markdown_sections(_make_sections(rows, view), out)


def _make_sections(rows: Rows, view: View) -> list[tuple[str | None, Rows]]:
    """The rows of each group under its heading; without groups, all rows under none."""
    if view.group is None:
        return [(None, rows)]
    groups = split_groups(rows, view.group)
    return [(describe_group(view.group, value, held), held) for value, held in groups]


def _make_grids(rows: Rows, view: View, most: int | None = None) -> list[tuple[str | None, Grid]]:
    return [(heading, make_grid(held, view, most)) for heading, held in _make_sections(rows, view)]


def open_console(stream: TextIO) -> Console:
    """A console for people on a stream, wide where nothing bounds it."""
    from rich.console import Console

    is_bound = stream.isatty() or "COLUMNS" in os.environ
    console = Console(file=stream, width=None if is_bound else UNBOUND_WIDTH, highlight=False)
    console.width = max(console.width, LEAST_WIDTH)
    return console
