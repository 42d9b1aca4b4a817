"""Whether one measurement is faster than another, and by how much: ratio, interval, verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from host.ledger.statistics import Samples, log_medians, student_quantile
from host.specs.record import Record

Values = NDArray[np.float64]
Verdict = Literal["faster", "slower", "same", "cannot tell"]

NEGLIGIBLE = 0.01
"""Where its memory happens to lie makes a process up to so much slower than another one of the same program.
An interval over the rounds of one process does not hold that, so it must lie beyond."""
BETWEEN_RUNS = 0.02
"""As `NEGLIGIBLE`, for rounds that are not interleaved: the board's state may have changed in between."""
SAME_WITHIN = 0.03
"""Intervals that lie within so much of equality are called the same."""


class Difference(Record):
    """How many times as long one inference of the second takes as one of the first.

    `low` and `high` are the ends of the 95 % interval of `ratio`.
    """

    ratio: float
    low: float
    high: float
    verdict: Verdict


def compare_latency(
    first: Sequence[Samples], second: Sequence[Samples], *, interleaved: bool
) -> Difference | None:
    """The second beside the first, each the rounds of one measurement in ns; None with fewer than two rounds.

    The rounds are the units: samples within one depend on each other. The logarithms of their medians are
    compared by Student's t. Where the rounds were `interleaved` and so lie beside each other in time, the
    pairs are, so that what slows both does not count; else both samples, with unequal variances (Welch 1947).
    """
    one, other = log_medians(first), log_medians(second)
    if min(len(one), len(other)) < 2:
        return None
    if interleaved and len(one) == len(other):
        centre, reach = _pair(other - one)
    else:
        centre, reach = _separate(one, other)
    low, high = math.exp(centre - reach), math.exp(centre + reach)
    verdict = judge(low, high, NEGLIGIBLE if interleaved else BETWEEN_RUNS)
    return Difference(ratio=math.exp(centre), low=low, high=high, verdict=verdict)


def judge(low: float, high: float, negligible: float = NEGLIGIBLE) -> Verdict:
    """What the interval of a ratio of latencies says of the second."""
    if low > 1 + negligible:
        return "slower"
    if high < 1 - negligible:
        return "faster"
    return "same" if low >= 1 - SAME_WITHIN and high <= 1 + SAME_WITHIN else "cannot tell"


def _pair(changes: Values) -> tuple[float, float]:
    """The mean of paired differences and half the width of its interval."""
    error = float(changes.std(ddof=1)) / math.sqrt(len(changes))
    return float(changes.mean()), student_quantile(len(changes) - 1) * error


def _separate(one: Values, other: Values) -> tuple[float, float]:
    """The difference of two means and half the width of its interval."""
    parts = [float(sample.var(ddof=1)) / len(sample) for sample in (one, other)]
    centre, total = float(other.mean() - one.mean()), sum(parts)
    if total == 0:
        return centre, 0.0
    shares = [part**2 / (len(sample) - 1) for part, sample in zip(parts, (one, other), strict=True)]
    return centre, _find_quantile(total**2 / sum(shares)) * math.sqrt(total)


def _find_quantile(degrees: float) -> float:
    """Student's quantile at degrees that need not be whole: between its neighbours, evenly in 1 / degrees.

    Rounded down, three rounds on either side would count as two, and their interval be a third too wide.
    """
    below = max(1, math.floor(degrees))
    share = (1 / below - 1 / max(degrees, below)) / (1 / below - 1 / (below + 1))
    return (1 - share) * student_quantile(below) + share * student_quantile(below + 1)
