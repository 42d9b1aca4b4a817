"""An analysis as one HTML page: nothing is loaded from anywhere, and no script runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from host.report.cells import MISSING, clean_text, format_count
from host.report.charts import Line, Scale, draw_steps
from host.report.pictures import MOST_FILTERS, Picture, draw_filters, draw_image
from host.report.templating import load_template
from host.specs.analysis import Analysis, AnalyzedFile, ClassScore, Misclassified, Quality

if TYPE_CHECKING:
    from host.analyzing import Findings, Pictures

MOST_CLASSES = 25
"""Classes up to which tables show all of them."""

MATRIX_CLASSES = 12
"""Of more than that, the matrix shows so many of those with the most errors."""

MOST_CONFUSIONS = 12


class ClassLine(NamedTuple):
    """A row of the table of classes; `change` is that of the recall, None without a dense model."""

    score: ClassScore
    change: float | None


class Cell(NamedTuple):
    """Images in a cell of the matrix; `weight` from 0 to 1 is how strongly it is coloured."""

    images: int
    weight: float
    is_right: bool


class MatrixLine(NamedTuple):
    name: str
    cells: tuple[Cell, ...]
    others: int


class Matrix(NamedTuple):
    """The confusion matrix, or a part of it: then `others` counts what was taken for classes left out."""

    names: tuple[str, ...]
    lines: tuple[MatrixLine, ...]
    is_part: bool


class ShownImage(NamedTuple):
    answer: Misclassified
    true: str
    predicted: str
    picture: Picture


class ShownFilters(NamedTuple):
    title: str
    filters: int
    shown: int
    picture: Picture


class SizeBar(NamedTuple):
    """One size of one file; `share` is that of the largest bar, `parts` are (name, bytes, share)."""

    title: str
    file: str
    size: int
    share: float
    parts: tuple[tuple[str, int, float], ...]


def render_page(findings: Findings, data_name: str) -> str:
    """The page of an analysis; equal findings give equal text. `data_name` is the file of its numbers.

    Whatever a class, a model or a note is called is shown as text.
    """
    analysis, pictures = findings.analysis, findings.pictures
    quality = analysis.variant.quality
    page: str = load_template(
        "analysis.html.j2",
        plain=clean_text,
        percent=format_percent,
        points=format_points,
        short=format_count,
        bytes=format_bytes,
    ).render(
        a=analysis,
        v=analysis.variant,
        q=quality,
        dense=analysis.dense,
        changes=analysis.changes,
        names=[item.name for item in quality.classes],
        class_lines=list_classes(analysis),
        matrix=build_matrix(quality),
        confusions=quality.confusions[:MOST_CONFUSIONS],
        misclassified=_show_misclassified(quality, pictures),
        steps=_draw_steps(analysis),
        filters=list_filters(analysis, pictures),
        sizes=list_sizes(analysis),
        data_name=data_name,
    )
    return page


def format_percent(share: float | None, decimals: int = 1) -> str:
    """A share such as `93.4 %`, its unit not on a line of its own."""
    return MISSING if share is None else f"{100 * share:.{decimals}f}\N{NO-BREAK SPACE}%"


def format_points(change: float | None, decimals: int = 1) -> str:
    """A change of a share in points, with its sign: `+0.4`, `−1.2`, or `0.0`."""
    if change is None:
        return MISSING
    text = f"{100 * change:+.{decimals}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def format_bytes(size: int | None) -> str:
    """A size such as `2.24 MiB`."""
    if size is None:
        return MISSING
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return (
                f"{size / unit:.3g}\N{NO-BREAK SPACE}{name}"
                if size < 1000 * unit
                else f"{size / unit:,.0f}\N{NO-BREAK SPACE}{name}"
            )
    return f"{size}\N{NO-BREAK SPACE}B"


def list_classes(analysis: Analysis) -> tuple[ClassLine, ...]:
    """The classes, worst recall first; of very many only the worst."""
    changes = analysis.changes.recall_changes if analysis.changes is not None else None
    lines = [
        ClassLine(score, None if changes is None else changes[score.index])
        for score in analysis.variant.quality.classes
    ]
    return tuple(sorted(lines, key=lambda line: _rank(line.score.recall))[:MOST_CLASSES])


def _rank(recall: float | None) -> float:
    """A class without images comes last."""
    return 2.0 if recall is None else recall


def build_matrix(quality: Quality) -> Matrix:
    """The confusion matrix, of all classes or of those with the most errors."""
    counts = {(item.true, item.predicted): item.count for item in quality.confusions}
    is_part = len(quality.classes) > MOST_CLASSES
    shown = _find_confused(quality) if is_part else tuple(range(len(quality.classes)))
    most = max((counts.get((row, column), 0) for row in shown for column in shown), default=0)
    lines = []
    for row in shown:
        score = quality.classes[row]
        cells = tuple(
            Cell(score.right, (score.recall or 0) ** 2, True)
            if column == row
            else Cell(
                counts.get((row, column), 0), (counts.get((row, column), 0) / max(most, 1)) ** 0.6, False
            )
            for column in shown
        )
        lines.append(MatrixLine(score.name, cells, score.support - sum(cell.images for cell in cells)))
    return Matrix(tuple(quality.classes[index].name for index in shown), tuple(lines), is_part)


def _find_confused(quality: Quality) -> tuple[int, ...]:
    """The classes with the most errors, as what they are or as what others were taken for, in order."""
    errors = {item.index: item.support + item.predicted - 2 * item.right for item in quality.classes}
    return tuple(sorted(sorted(errors, key=lambda index: -errors[index])[:MATRIX_CLASSES]))


def _show_misclassified(quality: Quality, pictures: Pictures) -> tuple[ShownImage, ...]:
    names = [item.name for item in quality.classes]
    return tuple(
        ShownImage(item, names[item.true], names[item.predicted], draw_image(pixels))
        for item, pixels in zip(quality.misclassified, pictures.misclassified, strict=True)
    )


def _draw_steps(analysis: Analysis) -> tuple[Line, Line] | None:
    across, up = Scale(0, 1, 58, 404), Scale(0, 1, 178, 14)
    return draw_steps(analysis.steps, across, up) if analysis.steps else None


def list_filters(analysis: Analysis, pictures: Pictures) -> tuple[ShownFilters, ...]:
    """The filters of the first layers that have any, the dense model's first."""
    files = ((analysis.dense, pictures.dense_filters), (analysis.variant, pictures.filters))
    return tuple(
        ShownFilters(file.variant, len(filters), min(len(filters), MOST_FILTERS), draw_filters(filters))
        for file, filters in files
        if file is not None and filters is not None
    )


def list_sizes(analysis: Analysis) -> tuple[SizeBar, ...]:
    """Every size that is known, the variant's beside the dense model's."""
    files = [file for file in (analysis.variant, analysis.dense) if file is not None]
    largest = max(max(_sizes_of(file).values()) for file in files)
    return tuple(
        SizeBar(title, file.variant, size, size / max(largest, 1), _list_parts(file, title, largest))
        for title in ("file", "after gzip", "packed")
        for file in files
        for size in _present(_sizes_of(file).get(title))
    )


def _sizes_of(file: AnalyzedFile) -> dict[str, int]:
    sizes = {"file": file.sizes.file, "after gzip": file.sizes.gzip}
    return sizes if file.sizes.packed is None else {**sizes, "packed": file.sizes.packed}


def _list_parts(file: AnalyzedFile, title: str, largest: int) -> tuple[tuple[str, int, float], ...]:
    parts = file.sizes.packed_parts
    if title != "packed" or parts is None:
        return ()
    return tuple((name, size, size / max(largest, 1)) for name, size in parts.model_dump().items())


def _present(size: int | None) -> Sequence[int]:
    return () if size is None else (size,)
