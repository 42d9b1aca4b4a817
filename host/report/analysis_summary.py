"""An analysis on a terminal: the few numbers that say where to look in its page."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from host.report.cells import clean_text
from host.report.exporting import open_console
from host.report.listing import print_rows
from host.specs.analysis import Analysis, ClassScore

SHOWN = 5
"""How many classes and confusions a person takes in at a glance."""


def print_analysis(analysis: Analysis, page: Path, console: Console | None = None) -> None:
    """Print accuracy, the worst classes, the top confusions, the calibration error, and where the page is."""
    shown = console or open_console(sys.stdout)
    first, *others = describe_analysis(analysis)
    shown.print(Text(first, style="bold"), soft_wrap=True)
    for line in others:
        shown.print(Text(line), soft_wrap=True)
    shown.print()
    _print_classes(analysis, shown)
    _print_confusions(analysis, shown)
    shown.print(Text(f"Page: {clean_text(page)}"), soft_wrap=True)


def describe_analysis(analysis: Analysis) -> list[str]:
    """A line on the accuracy, then one each on what changed against dense and on confidence."""
    quality, changes, dense = analysis.variant.quality, analysis.changes, analysis.dense
    name = f"{clean_text(analysis.model)} {clean_text(analysis.variant.variant)}"
    lines = [f"{name}: accuracy {100 * quality.accuracy:.2f} % over {quality.images:,} test images"]
    if changes is not None and dense is not None:
        lines.append(
            f"Against dense: {100 * changes.accuracy_change:+.2f} points; {len(changes.lost):,} images lost, "
            f"{len(changes.gained):,} gained, {100 * changes.agreement:.1f} % predicted alike"
        )
    elif not analysis.is_dense:
        lines.append("The dense model is not built: nothing to compare with")
    beside = "" if dense is None else f" (dense: {100 * dense.quality.calibration.error:.2f} %)"
    errors = quality.high_confidence_errors
    lines.append(
        f"Calibration error {100 * quality.calibration.error:.2f} %{beside}; {errors.count:,} wrong answers "
        f"with a confidence of {100 * errors.threshold:.0f} % or more"
    )
    if quality.not_finite:
        lines.append(f"{quality.not_finite:,} answers hold values that are not numbers")
    return lines


def _print_classes(analysis: Analysis, console: Console) -> None:
    worst = sorted(
        (item for item in analysis.variant.quality.classes if item.recall is not None),
        key=lambda item: (item.recall, item.index),
    )[:SHOWN]
    if analysis.changes is None:
        columns: Sequence[str] = ("class", "images", "accuracy %", "precision %")
        rows: Iterable[Sequence[object]] = (_describe_class(item) for item in worst)
    else:
        columns = ("class", "images", "accuracy %", "precision %", "against dense")
        changes = analysis.changes.recall_changes
        rows = ((*_describe_class(item), _percent(changes[item.index], "+")) for item in worst)
    print_rows("Worst classes", columns, rows, console)


def _describe_class(item: ClassScore) -> tuple[object, ...]:
    return item.name, item.support, _percent(item.recall), _percent(item.precision)


def _percent(share: float | None, sign: str = "") -> str | None:
    return None if share is None else f"{100 * share:{sign}.1f}"


def _print_confusions(analysis: Analysis, console: Console) -> None:
    quality = analysis.variant.quality
    names = [item.name for item in quality.classes]
    rows = [
        (names[item.true], names[item.predicted], item.count, _percent(item.share))
        for item in quality.confusions[:SHOWN]
    ]
    print_rows("Top confusions", ("true", "predicted", "images", "% of the class"), rows, console)
