"""Two measurements beside each other: false alarms are rare, a real change is found, doubt is told."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from host.ledger.comparing import Difference, compare_latency, judge

Rounds = list[NDArray[np.int64]]


def draw(generator: np.random.Generator, weather: NDArray[np.float64], ratio: float = 1.0) -> Rounds:
    """Rounds of 200 log-normal samples; `weather` is what slows each round."""
    noise = 0.03 * generator.standard_normal((len(weather), 200))
    return list(np.rint(1e7 * ratio * np.exp(noise + weather[:, None])).astype(np.int64))


def compare_often(
    ratio: float, spread: float, interleaved: bool, trials: int = 400, rounds: int = 5
) -> list[Difference]:
    """Simulated comparisons; interleaved ones share their weather, others have each their own."""
    generator = np.random.default_rng(7)
    found = []
    for _ in range(trials):
        weather = spread * generator.standard_normal(rounds)
        other = weather if interleaved else spread * generator.standard_normal(rounds)
        difference = compare_latency(
            draw(generator, weather), draw(generator, other, ratio), interleaved=interleaved
        )
        assert difference is not None
        found.append(difference)
    return found


@pytest.mark.parametrize(("spread", "interleaved"), [(0.0, True), (0.05, True), (0.01, False)])
def test_equal_programs_are_seldom_called_different(spread: float, interleaved: bool) -> None:
    found = compare_often(1.0, spread, interleaved)
    assert np.mean([one.verdict in ("faster", "slower") for one in found]) <= 0.05


@pytest.mark.parametrize(("spread", "interleaved"), [(0.05, True), (0.01, False)])
def test_a_slowdown_of_5_percent_is_found(spread: float, interleaved: bool) -> None:
    found = compare_often(1.05, spread, interleaved)
    assert np.mean([one.verdict == "slower" for one in found]) >= 0.95
    assert np.mean([one.ratio for one in found]) == pytest.approx(1.05, abs=0.005)


@pytest.mark.parametrize("interleaved", [True, False])
def test_the_interval_holds_the_true_ratio_in_95_of_100_trials(interleaved: bool) -> None:
    found = compare_often(1.2, 0.02, interleaved, trials=1000)
    covered = np.mean([one.low <= 1.2 <= one.high for one in found])
    assert 0.925 <= covered <= (0.975 if interleaved else 0.985)


def test_weather_that_both_share_counts_only_where_rounds_were_not_interleaved() -> None:
    together, apart = (compare_often(1.0, 0.1, interleaved) for interleaved in (True, False))
    assert np.mean([one.high - one.low for one in together]) < 0.1 * np.mean(
        [one.high - one.low for one in apart]
    )
    assert "cannot tell" in {one.verdict for one in apart}


def test_faster_is_the_inverse_of_slower() -> None:
    generator = np.random.default_rng(1)
    calm = np.zeros(5)
    slow, fast = draw(generator, calm, 1.1), draw(generator, calm)
    down = compare_latency(slow, fast, interleaved=True)
    up = compare_latency(fast, slow, interleaved=True)
    assert down is not None
    assert up is not None
    assert (up.verdict, down.verdict) == ("slower", "faster")
    assert up.ratio == pytest.approx(1 / down.ratio)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.02, 1.2, "slower"),
        (0.8, 0.98, "faster"),
        (0.98, 1.02, "same"),
        (1.005, 1.02, "same"),
        (0.9, 1.1, "cannot tell"),
        (1.0, 1.2, "cannot tell"),
    ],
)
def test_an_interval_decides(low: float, high: float, verdict: str) -> None:
    assert judge(low, high) == verdict


def test_one_round_is_no_ground_for_a_verdict() -> None:
    samples = draw(np.random.default_rng(1), np.zeros(1))
    assert compare_latency(samples, samples, interleaved=True) is None


def test_rounds_of_different_numbers_are_compared_as_separate_samples() -> None:
    generator = np.random.default_rng(1)
    first, second = draw(generator, np.zeros(5)), draw(generator, np.zeros(3))
    assert compare_latency(first, second, interleaved=True) == compare_latency(
        first, second, interleaved=False
    )


def test_equal_rounds_leave_no_doubt() -> None:
    rounds = [np.full(20, 1000), np.full(20, 1000)]
    found = compare_latency(rounds, rounds, interleaved=False)
    assert found == Difference(ratio=1.0, low=1.0, high=1.0, verdict="same")


@pytest.mark.parametrize("samples", [[5], [5, 8], [9, 1, 4], [4, 3, 2, 1]])
def test_the_middle_of_a_round_is_its_median(samples: list[int]) -> None:
    rounds = [np.array(samples), np.array(samples)]
    doubled = [2 * np.median(samples) * np.ones(1, dtype=np.int64)] * 2
    found = compare_latency(rounds, [one.astype(np.int64) for one in doubled], interleaved=False)
    assert found is not None
    assert found.ratio == pytest.approx(2)
