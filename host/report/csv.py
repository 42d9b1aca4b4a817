"""Result rows as CSV (RFC 4180): a header, a line to a row, nested values flattened."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from host.ledger.flat import FIELDS, flatten_row
from host.report.cells import replace_hidden
from host.report.output import open_text

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_csv(rows: Iterable[Mapping[str, Any]], out: Path | TextIO) -> None:
    """Write all rows; what was not measured is an empty field, truths are `true` and `false`."""
    names = [field.name for field in FIELDS]
    write_csv_lines(names, (flatten_row(row).values() for row in rows), out)


def write_csv_lines(names: Iterable[str], lines: Iterable[Iterable[Any]], out: Path | TextIO) -> None:
    """As `write_csv`, of columns with these names."""
    with open_text(out) as stream:
        writer = csv.writer(stream)
        writer.writerow([_protect(name) for name in names])
        writer.writerows([_protect(value) for value in line] for line in lines)


def _protect(value: Any) -> Any:
    """A value as CSV holds it; text that a spreadsheet would run as a formula gets an apostrophe before it.

    Numbers stay as they are. (OWASP, CSV injection.)
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return value
    text = replace_hidden(value, keep="\n\t")
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
