"""Where things stand in a chart: scales, round ticks, and the points of lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from host.specs.artifact import Step

NARROWEST = 1.0
"""Points that a scale spans at least, so that noise does not look like a trend."""


class Scale(NamedTuple):
    """Values from `low` to `high` along a line of the picture from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value stands, to a tenth of a pixel."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


class Dot(NamedTuple):
    """One point of a line; `is_kept` is False where the step was rolled back."""

    x: float
    y: float
    value: float
    is_kept: bool


class Line(NamedTuple):
    """A line over steps: its scale with ticks, its points, and the strokes between them.

    `kept` joins the steps that were kept; each stroke of `undone` leads from the last of them to one that
    was rolled back.
    """

    title: str
    scale: Scale
    ticks: tuple[float, ...]
    dots: tuple[Dot, ...]
    kept: str
    undone: tuple[str, ...]


def choose_ticks(low: float, high: float, most: int = 5) -> tuple[float, ...]:
    """At most `most` + 1 round values that begin at or below `low` and end at or above `high`."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= most - 1)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return tuple(round(index * step, 10) for index in range(first, max(last, first + 1) + 1))


def draw_line(
    title: str, values: Sequence[float], are_kept: Iterable[bool], across: Scale, up: Scale
) -> Line:
    """Percentages over the steps 1, 2, …; `up` gives the place, its range follows from the values."""
    low, high = min(values), max(values)
    if high - low < NARROWEST:
        low, high = max(low - NARROWEST / 2, 0), min(high + NARROWEST / 2, 100)
    ticks = choose_ticks(low, high)
    scale = up._replace(low=ticks[0], high=ticks[-1])
    dots = tuple(
        Dot(across.at(number), scale.at(value), value, is_kept)
        for number, (value, is_kept) in enumerate(zip(values, are_kept, strict=True), start=1)
    )
    return Line(title, scale, ticks, dots, _join(dot for dot in dots if dot.is_kept), tuple(_undone(dots)))


def draw_steps(steps: Sequence[Step], across: Scale, up: Scale) -> tuple[Line, Line]:
    """Accuracy and sparsity over the steps of pruning, both in percent."""
    are_kept = [step.is_kept for step in steps]
    across = across._replace(low=1, high=max(len(steps), 2))
    accuracy = [100 * step.accuracy for step in steps]
    sparsity = [100 * step.sparsity for step in steps]
    return (
        draw_line("Accuracy", accuracy, are_kept, across, up),
        draw_line("Sparsity", sparsity, are_kept, across, up),
    )


def _undone(dots: Iterable[Dot]) -> Iterable[str]:
    last = None
    for dot in dots:
        if dot.is_kept:
            last = dot
        elif last is not None:
            yield _join((last, dot))


def _join(dots: Iterable[Dot]) -> str:
    return " ".join(f"{dot.x:g},{dot.y:g}" for dot in dots)
