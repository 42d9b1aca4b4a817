"""The timed loop and its warm-up, on a clock that the test winds."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import pytest

from device_agent import protocol
from device_agent.timing import (
    WarmUp,
    choose_capacity,
    do_agree,
    quartiles,
    time_round,
    warm_again,
    warm_up,
)

MS = 1000000


class Bench:
    """A model whose inferences last as told, and the clock that sees them."""

    def __init__(self, *durations_ms: float, then_ms: float = 1.0) -> None:
        self.now = 0
        self.fed: list[Any] = []
        self.collector_was_on: set[bool] = set()
        self._durations: Iterator[float] = chain(durations_ms, repeat(then_ms))

    def infer(self, feed: Any) -> None:
        self.fed.append(feed)
        self.collector_was_on.add(gc.isenabled())
        self.now += int(next(self._durations) * MS)

    def clock(self) -> int:
        return self.now


def warm(bench: Bench, **changes: Any) -> WarmUp:
    rules = {"least_inferences": 10, "least_s": 0.01, "window": 4, "tolerance": 0.05, "cap_s": 1.0, **changes}
    return warm_up(bench.infer, ["feed"], clock=bench.clock, **rules)


def test_a_steady_model_is_warm_after_both_floors() -> None:
    assert tuple(warm(Bench())) == (12, pytest.approx(0.012), True, MS)
    assert warm(Bench(), least_s=0.05).inferences == 52
    assert warm(Bench(), least_inferences=30).inferences == 32


def test_warm_up_goes_on_until_two_neighbouring_windows_agree() -> None:
    bench = Bench(*[9.0] * 4, *[5.0] * 4, *[3.0] * 4, *[2.0] * 4)
    found = warm(bench)
    assert tuple(found) == (24, pytest.approx(0.084), True, MS)


def test_a_model_that_never_settles_is_given_up_at_the_cap() -> None:
    bench = Bench(*(1.0 + index for index in range(100)))
    found = warm(bench)
    assert not found.is_steady
    assert 1.0 <= found.seconds < 1.1
    assert found.shortest_ns == MS


def test_an_inference_longer_than_the_cap_ends_the_warm_up() -> None:
    assert warm(Bench(5000.0)) == WarmUp(1, 5.0, False, 5000 * MS)


def test_windows_agree_in_their_quartiles_and_not_only_in_the_median() -> None:
    calm, wild = [100, 100, 100, 100, 100], [60, 60, 100, 140, 140]
    assert do_agree(calm, [104] * 5, 0.05)
    assert not do_agree(calm, wild, 0.05)
    assert not do_agree(calm, [106] * 5, 0.05)


def test_quartiles_lie_between_neighbours() -> None:
    assert quartiles([1, 2, 3, 4]) == (1.75, 2.5, 3.25)


def test_warming_again_takes_some_inferences_and_some_time() -> None:
    quick = Bench(then_ms=1.0)
    assert warm_again(quick.infer, ["feed"], quick.clock) == (100, pytest.approx(0.1))
    slow = Bench(then_ms=50.0)
    assert warm_again(slow.infer, ["feed"], slow.clock) == (10, pytest.approx(0.5))


def measure(bench: Bench, capacity: int, round_s: float, samples: int, feeds: int = 1) -> Any:
    buffer = array("Q", bytes(8 * capacity))
    count, seconds = time_round(bench.infer, list(range(feeds)), buffer, round_s, samples, bench.clock)
    return list(buffer[:count]), seconds


def test_a_round_lasts_its_time_and_holds_its_samples() -> None:
    samples, seconds = measure(Bench(3.0, 2.0), 100, 0.010, 5)
    assert samples == [3 * MS, 2 * MS] + [MS] * 5
    assert seconds == pytest.approx(0.010)
    samples, seconds = measure(Bench(), 100, 0.010, 20)
    assert len(samples) == 20


def test_a_full_buffer_ends_a_round() -> None:
    samples, _ = measure(Bench(), 7, 1.0, 5)
    assert len(samples) == 7


def test_feeds_are_cycled_through() -> None:
    bench = Bench()
    measure(bench, 100, 0.007, 1, feeds=3)
    assert bench.fed == [0, 1, 2, 0, 1, 2, 0]


def test_the_collector_is_off_while_the_clock_runs_and_on_again_after() -> None:
    bench = Bench()
    measure(bench, 10, 0.001, 1)
    assert bench.collector_was_on == {False}
    assert gc.isenabled()


def test_the_collector_is_on_again_after_a_failed_inference() -> None:
    def fail(feed: Any) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        time_round(fail, ["feed"], array("Q", bytes(8)), 1.0, 1)
    assert gc.isenabled()


def test_the_buffer_holds_a_round_that_is_much_faster_than_its_warm_up() -> None:
    assert choose_capacity(1.0, 64, 3 * MS) > 1000
    assert choose_capacity(1.0, 64, MS) < 5000
    assert choose_capacity(1.0, 5000, MS) == 5000
    assert choose_capacity(3600.0, 64, 1000) == protocol.MAX_ROUND_SAMPLES
    assert choose_capacity(1.0, 1, 0) == protocol.MAX_ROUND_SAMPLES
