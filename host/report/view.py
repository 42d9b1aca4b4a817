"""How rows are shown: as a comparison, in columns that somebody chose, or pivoted; grouped or not. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from host.errors import UsageError
from host.ledger.flat import FIELDS, Field, Kind, flatten_row
from host.ledger.naming import find_field, find_fields, read_field
from host.report.chosen import choose_columns, show_columns
from host.report.grid import Grid
from host.report.pivot import Pivot, make_pivot, pivot_to_json, show_flags
from host.report.shown import show_value

Row = Mapping[str, Any]
Rows = Sequence[Row]


class View(NamedTuple):
    """At most one of `columns` and `pivot`; `group` goes with either and with neither."""

    columns: tuple[Field, ...] = ()
    group: Field | None = None
    pivot: Pivot | None = None


class DataTable(NamedTuple):
    """Lines with typed columns, for the formats that hold one table."""

    columns: tuple[tuple[str, Kind], ...]
    lines: Sequence[Sequence[Any]]


def parse_view(columns: Sequence[str], group: str | None, pivot: str | None, axes: str | None) -> View:
    """The view that a command line asks for. Raises UsageError for what does not go together."""
    if pivot is not None and columns:
        raise UsageError("--pivot and --columns exclude each other", "Leave one of them out.")
    if axes is not None and pivot is None:
        raise UsageError(
            "--axes says what a --pivot has down and across", "Add --pivot, such as --pivot p50."
        )
    return View(
        columns=find_fields(columns),
        group=None if group is None else find_field(group),
        pivot=None if pivot is None else _parse_pivot(pivot, axes),
    )


def _parse_pivot(figure: str, axes: str | None) -> Pivot:
    if axes is None:
        return Pivot(find_field(figure))
    names = [name.strip() for name in axes.replace("×", ",").split(",")]
    if len(names) != 2 or not all(names):
        raise UsageError(f"--axes {axes!r}: expected two columns", "Write it like --axes variant,runtime.")
    rows, columns = (find_field(name) for name in names)
    if rows == columns:
        raise UsageError(f"--axes {axes!r} names {rows.name} twice", "Write it like --axes variant,runtime.")
    return Pivot(find_field(figure), rows, columns)


def split_groups(rows: Rows, group: Field | None) -> list[tuple[Any, Rows]]:
    """The rows of each value of a column, in the order in which the values occur; the missing one is last."""
    if group is None:
        return [(None, rows)]
    found: dict[str, tuple[Any, list[Row]]] = {}
    for row in rows:
        value = read_field(row, group)
        found.setdefault(show_value(group, value), (value, []))[1].append(row)
    return sorted(found.values(), key=lambda held: held[0] is None)


def describe_group(group: Field, value: Any, rows: Rows) -> str:
    """A heading: the value, how many measurements it has, and the span of their latencies."""
    failed = sum(row["status"] == "failed" for row in rows)
    unfit = sum(row["status"] == "unfit" for row in rows)
    told = [
        f"{group.name}: {show_value(group, value)}",
        f"{len(rows)} measurement{'' if len(rows) == 1 else 's'}",
    ]
    told += [f"{failed} failed"] if failed else []
    told += [f"{unfit} unfit"] if unfit else []
    return " · ".join(told)


def make_grid(rows: Rows, view: View, most: int | None = None) -> Grid:
    """What people see of rows that are not shown as a comparison; of a pivot, `most` lines."""
    return make_pivot(rows, view.pivot, most=most) if view.pivot else show_columns(rows, view.columns)


def make_data_table(rows: Rows, view: View) -> DataTable:
    """All rows in one table; where they are grouped, in the order of the groups, whose column comes first."""
    ordered = [row for _, held in split_groups(rows, view.group) for row in held]
    if not view.pivot and not view.columns:
        names = tuple((field.name, field.kind) for field in FIELDS)
        return DataTable(names, [list(flatten_row(row).values()) for row in ordered])
    first = () if view.group is None else (view.group,)
    if view.pivot:
        grid = show_flags(make_pivot(ordered, view.pivot, first), ordered, view.pivot, first)
    else:
        grid = choose_columns(ordered, tuple(dict.fromkeys((*first, *view.columns))))
    columns = tuple((column.name, column.kind) for column in grid.columns)
    return DataTable(columns, [_write_json(columns, line) for line in grid.lines])


def _write_json(columns: Sequence[tuple[str, Kind]], line: Sequence[Any]) -> list[Any]:
    """A line with what is nested in it as JSON text."""
    return [
        json.dumps(value, ensure_ascii=False)
        if kind == "json" and not isinstance(value, str | None)
        else value
        for (_, kind), value in zip(columns, line, strict=True)
    ]


def to_json(rows: Rows, view: View) -> Any:
    """The rows, or the pivot, for programs; grouped ones as a list with one of these for each group."""
    groups = split_groups(rows, view.group)
    if view.group is None:
        return _to_json(rows, view)
    key = view.group.name
    return [
        {"group": {key: value}, **(_to_json(held, view) if view.pivot else {"rows": _to_json(held, view)})}
        for value, held in groups
    ]


def _to_json(rows: Rows, view: View) -> Any:
    if view.pivot:
        return pivot_to_json(rows, view.pivot)
    if view.columns:
        return [{field.name: read_field(row, field) for field in view.columns} for row in rows]
    return list(rows)
