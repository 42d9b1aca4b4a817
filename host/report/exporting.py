"""Result rows in the format that a command names, to a file or to standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from host.errors import UsageError
from host.report.csv import write_csv
from host.report.json import write_json
from host.report.markdown import write_markdown
from host.report.output import open_text
from host.report.parquet import write_parquet

if TYPE_CHECKING:
    from rich.console import Console

FORMATS = ("table", "json", "csv", "markdown", "parquet")
UNBOUND_WIDTH = 160
"""Columns of a table that no terminal shows, such as the log of a build."""
LEAST_WIDTH = 40
"""On a terminal that is narrower, lines break."""

Rows = Sequence[Mapping[str, Any]]


def write_rows(rows: Rows, form: str, file: Path | None = None) -> None:
    """Write rows as `form`, one of `FORMATS`; a file appears only when it is whole.

    Raises UsageError where Parquet would go to a terminal.
    """
    if form == "parquet":
        _write_parquet(rows, file)
        return
    writers = {"table": write_table, "json": write_json, "csv": write_csv, "markdown": write_markdown}
    writers[form](rows, file or sys.stdout)


def write_table(rows: Rows, out: Path | TextIO) -> None:
    """Write the table that a terminal shows; as wide as the terminal, or as `UNBOUND_WIDTH`."""
    from host.report.table import print_results  # rich: the other formats do without it

    with open_text(out) as stream:
        print_results(rows, open_console(stream))


def open_console(stream: TextIO) -> Console:
    """A console for people on a stream, wide where nothing bounds it."""
    from rich.console import Console

    is_bound = stream.isatty() or "COLUMNS" in os.environ
    console = Console(file=stream, width=None if is_bound else UNBOUND_WIDTH, highlight=False)
    console.width = max(console.width, LEAST_WIDTH)
    return console


def _write_parquet(rows: Rows, file: Path | None) -> None:
    if file is None and sys.stdout.isatty():
        raise UsageError("Parquet is no text for a terminal", "Name a file: --output results.parquet")
    write_parquet(rows, file or sys.stdout.buffer)
