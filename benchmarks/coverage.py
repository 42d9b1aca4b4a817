"""How often the 95 % interval of p50 holds the true median, on simulated latencies.

Samples depend on their neighbours (first-order autoregression) and on the round that they belong to, as
measured ones do; their distribution is log-normal, strongly skewed, or read from a coarse clock. The true
median is known, so whether an interval holds it is counted.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from figures import Figure, at_least, at_most, build_parser, fact, tell
from numpy.typing import NDArray

from host.ledger.statistics import Samples, summarize_latency

TRIALS = 3000
QUICK_TRIALS = 200
LOWEST, HIGHEST = 0.93, 0.97
MEDIAN_NS = 1e7
TICK_NS = 1e4
SPREADS = {"log-normal": 0.05, "skewed": 0.5, "coarse clock": 0.05}
PROTOCOLS = ((3, 64), (3, 500), (5, 200), (5, 1000), (9, 112))
"""Rounds and samples in each: the presets' least, and what faster models give them."""
DEPENDENCES = ((0.0, 0.0), (0.0, 0.9), (0.2, 0.9), (1.0, 0.5), (3.0, 0.0))
"""The rounds' own spread, in units of that of the samples, and the correlation of neighbours."""


@dataclass(frozen=True)
class Setting:
    kind: str
    rounds: int
    count: int
    round_effect: float
    memory: float

    def __str__(self) -> str:
        told = f"{self.kind}, {self.rounds} x {self.count}"
        return f"{told}, rounds {self.round_effect:g}, neighbours {self.memory:g}"


def list_settings() -> list[Setting]:
    products = itertools.product(SPREADS, PROTOCOLS, DEPENDENCES)
    return [Setting(kind, *protocol, *dependence) for kind, protocol, dependence in products]


def draw_rounds(generator: np.random.Generator, setting: Setting) -> list[Samples]:
    """One simulated measurement in ns, an array for each round."""
    state = generator.standard_normal((setting.rounds, setting.count))
    fresh = math.sqrt(1 - setting.memory**2)
    for at in range(1, setting.count):
        state[:, at] = setting.memory * state[:, at - 1] + fresh * state[:, at]
    state += setting.round_effect * generator.standard_normal((setting.rounds, 1))
    return list(_as_latencies(state, setting.kind))


def _as_latencies(state: NDArray[np.float64], kind: str) -> Samples:
    values = MEDIAN_NS * np.exp(SPREADS[kind] * state)
    if kind == "coarse clock":
        values = np.rint(values / TICK_NS) * TICK_NS
    whole: Samples = np.rint(values).astype(np.int64)
    return whole


def find_coverage(setting: Setting, trials: int) -> float:
    """The share of simulated measurements whose interval holds the true median."""
    generator = np.random.default_rng(list(str(setting).encode()))
    covered = 0
    for _ in range(trials):
        interval = summarize_latency(draw_rounds(generator, setting)).p50_ci
        covered += interval is not None and interval[0] <= MEDIAN_NS / 1e6 <= interval[1]
    return covered / trials


def judge(found: dict[Setting, float]) -> list[Figure]:
    lowest, highest = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
    return [
        at_least(f"lowest coverage ({lowest})", found[lowest], LOWEST),
        at_most(f"highest coverage ({highest})", found[highest], HIGHEST),
        fact("mean coverage", sum(found.values()) / len(found)),
        fact("settings", len(found)),
        fact("of them within 0.93 to 0.97", sum(LOWEST <= share <= HIGHEST for share in found.values())),
    ]


def main() -> int:
    asked = build_parser(__doc__).parse_args()
    trials = QUICK_TRIALS if asked.quick else TRIALS
    found = {setting: find_coverage(setting, trials) for setting in list_settings()}
    return tell([*judge(found), fact("trials of each", trials)], asked.format)


if __name__ == "__main__":
    raise SystemExit(main())
