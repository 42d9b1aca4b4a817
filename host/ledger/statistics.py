"""Latency samples to the statistics that are reported: supported percentiles and an honest interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from host.specs.record import Record

STATISTICS_VERSION = 2
"""Raised when a figure of `LatencySummary` is computed in another way, so that stored ones are made anew."""

SUPPORT = 0.99
NS_PER_MS = 1e6

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}

Samples = NDArray[np.int64]


class LatencySummary(Record):
    """Milliseconds of one inference (of one batch). None: the sample does not support the figure.

    `p50_ci` is the 95 % interval of p50, None with fewer than two rounds. `total_ms` is the sum of all
    samples. `outliers` counts the samples beyond Tukey's fences; they are part of every figure.
    """

    n: int = 0
    rounds: int = 0
    min: float | None = None
    mean: float | None = None
    p50: float | None = None
    p50_ci: tuple[float, float] | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p999: float | None = None
    total_ms: float = Field(0.0, ge=0)
    outliers: int = 0


def summarize_latency(rounds: Sequence[Samples]) -> LatencySummary:
    """The statistics of one measurement's rounds, each an array of nanoseconds; empty rounds do not count."""
    held = [samples for samples in rounds if len(samples)]
    if not held:
        return LatencySummary()
    pooled = np.sort(np.concatenate(held))
    lower, upper, *found = map(float, np.quantile(pooled, (0.25, 0.75, *PERCENTILES.values())))
    percentiles = {
        name: value / NS_PER_MS if is_supported(share, len(pooled)) else None
        for (name, share), value in zip(PERCENTILES.items(), found, strict=True)
    }
    return LatencySummary(
        n=len(pooled),
        rounds=len(held),
        min=float(pooled[0]) / NS_PER_MS,
        mean=float(pooled.mean()) / NS_PER_MS,
        p50_ci=_median_interval(held, pooled, found[0]),
        **percentiles,
        total_ms=float(pooled.sum()) / NS_PER_MS,
        outliers=_count_outliers(pooled, lower, upper),
    )


def is_supported(share: float, n: int) -> bool:
    """Whether `n` samples support the percentile `share`, at 99 % confidence.

    They do when, with a probability of at least 99 %, two samples or more lie beyond the true
    percentile: then the second largest sample bounds it from above, and the figure does not hang on a
    single extreme. The number beyond is binomial, so that the chance of fewer than two is
    share**n + n * (1 - share) * share**(n - 1). This first falls to 1 % at n = 11 for p50, 64 for p90,
    130 for p95, 662 for p99 and 6636 for p99.9 (distribution-free bounds by order statistics: David and
    Nagaraja, Order Statistics, 3rd ed., section 7.1).
    """
    if n < 1:
        return False
    return share**n + n * (1 - share) * share ** (n - 1) <= 1 - SUPPORT


def _median_interval(held: Sequence[Samples], pooled: Samples, p50: float) -> tuple[float, float] | None:
    """The 95 % interval of the median in ms: Student's t over the logarithms of the rounds' medians.

    Neighbouring samples depend on each other and a round shares its conditions, so that rounds are the
    units (batch means: Law and Kelton, Simulation Modeling and Analysis, section 9.5.3), as they are where
    two measurements are compared. Their medians are close to log-normal, since what slows a round
    slows all of it by a factor. The interval holds p50 (in ns) and never leaves the range of the sample.
    """
    count = len(held)
    if count < 2 or not is_supported(0.5, len(pooled)):
        return None
    medians = log_medians(held)
    reach = student_quantile(count - 1) * float(medians.std(ddof=1)) / math.sqrt(count)
    low, high = (math.exp(float(medians.mean()) + way * reach) for way in (-1, 1))
    low, high = max(min(low, p50), float(pooled[0])), min(max(high, p50), float(pooled[-1]))
    return low / NS_PER_MS, high / NS_PER_MS


def log_medians(rounds: Sequence[Samples]) -> NDArray[np.float64]:
    """The logarithm of the median of each round that has samples."""
    return np.log([max(_find_median(samples), 1.0) for samples in rounds if len(samples)])


def _find_median(samples: Samples) -> float:
    """As numpy's median, which spends ten times as long on what short rounds do not need."""
    half = len(samples) // 2
    if len(samples) % 2:
        return float(np.partition(samples, half)[half])
    ordered = np.partition(samples, (half - 1, half))
    return float(ordered[half - 1] + ordered[half]) / 2


_STUDENT_975 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


def student_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t, right to three digits.

    From the table up to ten degrees of freedom; above, Fisher's expansion in powers of 1 / degrees
    (Abramowitz and Stegun, 26.7.5).
    """
    if degrees <= len(_STUDENT_975):
        return _STUDENT_975[degrees - 1]
    z = 1.959964
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3


def _count_outliers(pooled: Samples, lower: float, upper: float) -> int:
    """How many samples lie over one and a half interquartile ranges beyond the quartiles (Tukey 1977)."""
    reach = 1.5 * (upper - lower)
    return int(np.count_nonzero((pooled < lower - reach) | (pooled > upper + reach)))
