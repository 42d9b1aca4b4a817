"""The shape of a latency sample in few numbers, as a picture needs it: of all rounds, and of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from host.ledger.statistics import NS_PER_MS, Samples

SHARES = (
    *(0.0, 0.001, 0.005, 0.01, 0.025),
    *(round(0.05 * step, 2) for step in range(1, 20)),
    *(0.975, 0.99, 0.995, 0.999, 1.0),
)
"""Where the curve of a sample is drawn through: closer at its ends, where it bends."""

ROUND_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


class RoundShape(NamedTuple):
    """One round in ms: the shares of `ROUND_SHARES`. `number` counts from 1."""

    number: int
    n: int
    quantiles: tuple[float, ...]


class Shape(NamedTuple):
    """How `n` samples are distributed, in ms: `quantiles` at `SHARES`, each of them a sample."""

    n: int
    quantiles: tuple[float, ...]
    rounds: tuple[RoundShape, ...]


def describe_shape(rounds: Sequence[Samples]) -> Shape | None:
    """The shape of a measurement's rounds (ns); None where they hold no samples."""
    held = [(number, samples) for number, samples in enumerate(rounds, 1) if len(samples)]
    if not held:
        return None
    pooled = np.concatenate([samples for _, samples in held])
    return Shape(
        n=len(pooled),
        quantiles=find_quantiles(pooled, SHARES),
        rounds=tuple(
            RoundShape(number, len(samples), find_quantiles(samples, ROUND_SHARES))
            for number, samples in held
        ),
    )


def find_quantiles(samples: Samples, shares: Sequence[float]) -> tuple[float, ...]:
    """The samples (ms) at which the empirical distribution reaches each share; none is interpolated."""
    found = np.quantile(samples, shares, method="inverted_cdf")
    return tuple((found / NS_PER_MS).tolist())
