"""A grid: columns that describe its lines, columns that hold figures, and what explains them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from host.ledger.flat import Field, Kind
from host.report.figures import Cell, Column
from host.report.shown import is_number, show_values, title_field


class GridColumn(NamedTuple):
    """One column, for people (`column`) and for programs (`name`, `kind` and `values`)."""

    name: str
    kind: Kind
    values: tuple[Any, ...]
    column: Column


class Grid(NamedTuple):
    """`left` describes the lines and stands in every block of a narrow table; `right` is what they hold.

    `hidden` is how many more lines there are.
    """

    facts: tuple[str, ...]
    left: tuple[GridColumn, ...]
    right: tuple[GridColumn, ...]
    notes: tuple[str, ...]
    hidden: int = 0

    @property
    def columns(self) -> tuple[GridColumn, ...]:
        return (*self.left, *self.right)

    @property
    def lines(self) -> list[tuple[Any, ...]]:
        """The values of each line, those of the left columns first."""
        return list(zip(*(column.values for column in self.columns), strict=True))


def make_grid_column(
    field: Field,
    values: Sequence[Any],
    *,
    name: str | None = None,
    title: str | None = None,
    texts: Sequence[str] | None = None,
    best: Sequence[bool] | None = None,
) -> GridColumn:
    """A column of one figure; the texts for people are made from its values unless they are given."""
    shown = show_values(field, values) if texts is None else texts
    marks = best or [False] * len(shown)
    held = tuple(Cell(text, mark) for text, mark in zip(shown, marks, strict=True))
    align = "right" if is_number(field) else "left"
    column = Column(field.name, title or title_field(field), "right" if align == "right" else "left", held)
    return GridColumn(name or field.name, field.kind, tuple(values), column)
