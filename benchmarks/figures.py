"""Figures of a benchmark: what was reached, what is required, and how both are told."""

from __future__ import annotations

import argparse
import json
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

Comparison = Literal["<=", ">=", "<"]
HOLDS: dict[Comparison, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Figure:
    """One figure in `unit`; without a bound it is told for the reader and can never be missed."""

    name: str
    reached: float | None
    unit: str = ""
    comparison: Comparison = "<="
    bound: float | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the bound holds; a figure that could not be had holds none."""
        if self.bound is None:
            return True
        return self.reached is not None and HOLDS[self.comparison](self.reached, self.bound)


def at_most(name: str, reached: float | None, bound: float, unit: str = "") -> Figure:
    return Figure(name, reached, unit, "<=", bound)


def below(name: str, reached: float | None, bound: float, unit: str = "") -> Figure:
    return Figure(name, reached, unit, "<", bound)


def at_least(name: str, reached: float | None, bound: float, unit: str = "") -> Figure:
    return Figure(name, reached, unit, ">=", bound)


def fact(name: str, reached: float | None, unit: str = "") -> Figure:
    """A figure that nothing is required of."""
    return Figure(name, reached, unit)


def build_parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    summary = (description or "").split("\n\n")[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--quick", action="store_true", help="short settings: to try it, not to judge by it")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    return parser


def tell(figures: Sequence[Figure], output: str) -> int:
    """Print the figures on standard output; the exit code is 1 where one is missed."""
    if output == "json":
        print(json.dumps([_as_json(figure) for figure in figures], indent=2))
    else:
        Console(width=110, highlight=False).print(_lay_out(figures))
    return 0 if all(figure.is_ok for figure in figures) else 1


def _as_json(figure: Figure) -> dict[str, object]:
    required = None if figure.bound is None else f"{figure.comparison} {figure.bound:g}"
    return {
        "figure": figure.name,
        "reached": figure.reached,
        "unit": figure.unit,
        "required": required,
        "ok": figure.is_ok,
    }


def _lay_out(figures: Sequence[Figure]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("figure")
    table.add_column("reached", justify="right")
    table.add_column("required", justify="right")
    table.add_column("ok")
    for figure in figures:
        reached = "-" if figure.reached is None else f"{figure.reached:.4g} {figure.unit}".rstrip()
        if figure.bound is None:
            table.add_row(figure.name, reached, "", "")
        else:
            required = f"{figure.comparison} {figure.bound:g} {figure.unit}".rstrip()
            table.add_row(figure.name, reached, required, "yes" if figure.is_ok else "NO")
    return table
