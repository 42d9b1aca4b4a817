"""The comparison as Markdown (GitHub's tables): a table for each device."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from host.report.comparison import Comparison, Group, compare_rows
from host.report.figures import Column
from host.report.output import open_text

_SPECIAL = re.compile(r"([\\`*\[\]<>|~#&])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])")


def write_markdown(rows: Sequence[Mapping[str, Any]], out: Path | TextIO) -> None:
    """Write every row, what all rows share before, and what explains them after."""
    with open_text(out) as stream:
        stream.write("\n".join(_tell_lines(compare_rows(rows))) + "\n" if rows else "No measurements yet.\n")


def _tell_lines(comparison: Comparison) -> Iterable[str]:
    for fact in comparison.facts:
        yield f"- {escape(fact)}"
    for group in comparison.groups:
        yield from _tell_group(comparison.left, group)
    if comparison.notes:
        yield ""
        yield from (f"- {escape(note.text)}" for note in comparison.notes)
    if comparison.unfit:
        yield from ("", f"{len(comparison.unfit)} unfit, not measured:", "")
        yield from (f"- {escape(told)}" for told in comparison.unfit)
    if comparison.failures:
        yield from ("", f"{len(comparison.failures)} failed:", "")
        yield from (f"- {escape(failure)}" for failure in comparison.failures)


def _tell_group(left: Sequence[Column], group: Group) -> Iterable[str]:
    columns = (*left, *group.columns)
    yield from ("", f"### {escape(group.title)}", "")
    yield _row(escape(column.title) for column in columns)
    yield _row("---" if column.align == "left" else "---:" for column in columns)
    for cells in zip(*(column.cells for column in columns), strict=True):
        yield _row(f"**{escape(cell.text)}**\\*" if cell.is_best else escape(cell.text) for cell in cells)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escape(text: str) -> str:
    """Text that Markdown shows as it is; underscores inside a word mean nothing and stay."""
    return _SPECIAL.sub(lambda found: f"\\{found.group()}", text)
