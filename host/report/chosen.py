"""The columns that somebody chose, a line for each measurement. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from host.ledger.flat import Field
from host.ledger.naming import find_field, is_measured, read_field
from host.report.best import find_best, is_best
from host.report.cells import clean_text
from host.report.flags import explain_flags
from host.report.grid import Grid, GridColumn, make_grid_column

Row = Mapping[str, Any]
FLAGS = find_field("flags")


def choose_columns(rows: Sequence[Row], fields: Sequence[Field]) -> Grid:
    """The chosen columns as they are, for programs."""
    columns = [make_grid_column(field, [read_field(row, field) for row in rows]) for field in fields]
    return Grid((), tuple(columns[:1]), tuple(columns[1:]), ())


def show_columns(rows: Sequence[Row], fields: Sequence[Field]) -> Grid:
    """The chosen columns for people: the best is marked, and flags are shown wherever there are any."""
    flags = {flag for row in rows for flag in row["flags"]}
    emulated = {"emulated"} if any(row["is_emulated"] for row in rows) else set()
    chosen = list(fields)
    if FLAGS not in chosen and flags and any(is_measured(field) for field in fields):
        chosen.append(FLAGS)
    best = find_best(rows, chosen)
    columns = [_make_column(rows, field, best) for field in chosen]
    notes = (
        ["* the best of its kind"]
        if any(cell.is_best for one in columns for cell in one.column.cells)
        else []
    )
    return Grid((), tuple(columns[:1]), tuple(columns[1:]), (*notes, *explain_flags(flags | emulated)))


def _make_column(rows: Sequence[Row], field: Field, best: Mapping[tuple[Any, ...], float]) -> GridColumn:
    values = [read_field(row, field) for row in rows]
    texts = None
    if field.name == "device":
        texts = [clean_text(row["device"]) + (" (emulated)" if row["is_emulated"] else "") for row in rows]
    return make_grid_column(field, values, texts=texts, best=[is_best(best, row, field) for row in rows])
