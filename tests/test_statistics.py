"""Latency statistics: what a sample supports, and an interval that covers what it claims."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from host.ledger.statistics import LatencySummary, is_supported, student_quantile, summarize_latency
from tests.made_results import make_rounds


@pytest.mark.parametrize(("share", "needed"), [(0.5, 11), (0.9, 64), (0.95, 130), (0.99, 662), (0.999, 6636)])
def test_a_percentile_needs_this_many_samples(share: float, needed: int) -> None:
    assert is_supported(share, needed)
    assert not any(is_supported(share, fewer) for fewer in range(needed))


def test_two_samples_lie_beyond_a_supported_percentile_in_99_of_100_samples() -> None:
    generator = np.random.default_rng(1)
    beyond = (generator.random((20_000, 64)) > 0.9).sum(axis=1)
    assert 0.988 < np.mean(beyond >= 2) < 0.993


def test_a_percentile_without_support_is_none() -> None:
    summary = summarize_latency(make_rounds(count=20))
    assert summary.n == 60
    assert summary.p50 is not None
    assert summary.p90 is None
    assert summary.p999 is None


def test_figures_are_those_of_the_pooled_sample() -> None:
    summary = summarize_latency([np.arange(1, 401) * 1_000_000, np.arange(401, 1001) * 1_000_000])
    assert (summary.n, summary.rounds, summary.min, summary.mean) == (1000, 2, 1.0, 500.5)
    assert summary.p50 == 500.5
    assert summary.p99 == pytest.approx(np.quantile(np.arange(1, 1001), 0.99))
    assert summary.total_ms == 500_500


def test_no_samples_give_nothing_rather_than_zeros() -> None:
    assert summarize_latency([]) == LatencySummary()
    assert summarize_latency([np.array([], dtype=np.int64)]).p50 is None


def test_one_round_has_no_interval() -> None:
    assert summarize_latency(make_rounds(rounds=1, count=500)).p50_ci is None


def test_an_outlier_is_counted_and_kept() -> None:
    calm = make_rounds(count=200)
    wild = [np.append(calm[0], 500_000_000), *calm[1:]]
    before, after = summarize_latency(calm), summarize_latency(wild)
    assert after.outliers == before.outliers + 1
    assert after.n == before.n + 1
    assert after.mean is not None
    assert before.mean is not None
    assert after.mean > before.mean + 0.5


def test_the_same_samples_give_the_same_interval() -> None:
    assert summarize_latency(make_rounds()) == summarize_latency(make_rounds())


def test_rounds_that_disagree_widen_the_interval() -> None:
    calm = make_rounds(rounds=5)
    shifted = [samples + shift for samples, shift in zip(calm, (0, 2e5, 4e5, 6e5, 8e5), strict=True)]
    assert width(summarize_latency([s.astype(np.int64) for s in shifted])) > 5 * width(
        summarize_latency(calm)
    )


def width(summary: LatencySummary) -> float:
    assert summary.p50_ci is not None
    return summary.p50_ci[1] - summary.p50_ci[0]


@given(
    st.lists(st.lists(st.integers(0, 10**12), min_size=6, max_size=40), min_size=2, max_size=6),
)
def test_the_interval_holds_the_median_and_stays_in_the_sample(rounds: list[list[int]]) -> None:
    summary = summarize_latency([np.array(samples, dtype=np.int64) for samples in rounds])
    assert summary.p50_ci is not None
    assert summary.p50 is not None
    assert summary.min is not None
    low, high = summary.p50_ci
    slack = 1e-9 * max(map(max, rounds)) + 1e-9
    assert summary.min - slack <= low <= summary.p50 + slack
    assert summary.p50 - slack <= high <= max(map(max, rounds)) / 1e6 + slack


def test_student_quantiles_agree_with_scipy() -> None:
    distribution = pytest.importorskip("scipy.stats").t
    for degrees in (1, 2, 3, 4, 8, 10, 11, 12, 20, 50, 999):
        assert student_quantile(degrees) == pytest.approx(distribution.ppf(0.975, degrees), abs=5e-4)


@pytest.mark.parametrize("rounds", [3, 5, 9])
@pytest.mark.parametrize(("round_effect", "memory"), [(0.0, 0.0), (0.2, 0.9), (1.0, 0.5)])
def test_the_interval_covers_the_true_median(rounds: int, round_effect: float, memory: float) -> None:
    """95 % is claimed; 91-99 % leaves room for the chance of 300 trials (three standard errors)."""
    generator = np.random.default_rng(rounds)
    trials = 300
    covered = 0
    for _ in range(trials):
        summary = summarize_latency(draw_rounds(generator, rounds, round_effect, memory))
        assert summary.p50_ci is not None
        covered += summary.p50_ci[0] <= 10.0 <= summary.p50_ci[1]
    assert 0.91 <= covered / trials <= 0.99


def draw_rounds(
    generator: np.random.Generator, rounds: int, round_effect: float, memory: float
) -> list[NDArray[np.int64]]:
    """Log-normal latencies with a true median of 10 ms, dependent on their neighbours and on their round."""
    noise = generator.standard_normal((rounds, 80))
    state = noise.copy()
    for at in range(1, state.shape[1]):
        state[:, at] = memory * state[:, at - 1] + np.sqrt(1 - memory**2) * noise[:, at]
    state += round_effect * generator.standard_normal((rounds, 1))
    return list(np.rint(1e7 * np.exp(0.05 * state)).astype(np.int64))
