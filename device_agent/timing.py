"""The timed loop and what comes before it. Nothing allocates, waits or looks around while a clock runs."""

import gc
import itertools
import sys
import time
from array import array
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, NamedTuple, Sequence, Tuple

from device_agent import protocol

Infer = Callable[[Any], Any]


def _nanoseconds() -> int:
    """Python 3.6 has no perf_counter_ns; its float keeps nanoseconds apart for a hundred days of uptime."""
    return int(time.perf_counter() * 1e9)


clock_ns: Callable[[], int] = getattr(time, "perf_counter_ns", _nanoseconds)

REWARM_INFERENCES = 10
REWARM_S = 0.1
PACE_MARGIN = 4


class WarmUp(NamedTuple):
    """How long it took, whether the last two windows agreed, and the shortest inference seen."""

    inferences: int
    seconds: float
    is_steady: bool
    shortest_ns: int


def quartiles(ordered: Sequence[int]) -> Tuple[float, float, float]:
    """Quartiles of sorted values, interpolated linearly between neighbours."""

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

    return at(0.25), at(0.5), at(0.75)


def do_agree(first: Sequence[int], second: Sequence[int], tolerance: float) -> bool:
    """Whether two windows have the same median and quartiles within `tolerance`."""
    pairs = zip(quartiles(sorted(first)), quartiles(sorted(second)))  # noqa: B905 (strict= needs 3.10)
    return all(abs(one - other) <= tolerance * min(one, other) for one, other in pairs)


def warm_up(
    infer: Infer,
    feeds: Sequence[Any],
    *,
    least_inferences: int,
    least_s: float,
    window: int,
    tolerance: float,
    cap_s: float,
    clock: Callable[[], int] = clock_ns,
) -> WarmUp:
    """Infer until both floors are passed and two neighbouring windows agree, at most for `cap_s`."""
    next_feed = itertools.cycle(feeds).__next__
    previous: List[int] = []
    current: List[int] = []
    shortest, count = sys.maxsize, 0
    begin = clock()
    while True:
        started = clock()
        infer(next_feed())
        ended = clock()
        current.append(ended - started)
        shortest = min(shortest, ended - started)
        count += 1
        elapsed = (ended - begin) / 1e9
        if len(current) == window:
            passed = count >= least_inferences and elapsed >= least_s
            if passed and previous and do_agree(previous, current, tolerance):
                return WarmUp(count, elapsed, True, shortest)
            previous, current = current, []
        if elapsed >= cap_s:
            return WarmUp(count, elapsed, False, shortest)


def warm_again(infer: Infer, feeds: Sequence[Any], clock: Callable[[], int] = clock_ns) -> Tuple[int, float]:
    """Bring a worker that rested while others were measured back: inferences done and their seconds."""
    next_feed = itertools.cycle(feeds).__next__
    count, begin = 0, clock()
    while count < REWARM_INFERENCES or clock() - begin < REWARM_S * 1e9:
        infer(next_feed())
        count += 1
    return count, (clock() - begin) / 1e9


def choose_capacity(round_s: float, round_samples: int, shortest_ns: int) -> int:
    """Samples that a round can hold: enough for `round_s` at several times the fastest pace of the warm-up.

    A full buffer ends a round early, and a warm-up that others disturbed is slower than the rounds after it.
    """
    expected = int(PACE_MARGIN * round_s * 1e9 / max(shortest_ns, 1)) + 64
    return min(max(round_samples, expected), protocol.MAX_ROUND_SAMPLES)


@contextmanager
def without_collector() -> Iterator[None]:
    """The garbage collector has run, and does not run in this block."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def time_round(
    infer: Infer,
    feeds: Sequence[Any],
    buffer: "array[int]",
    round_s: float,
    round_samples: int,
    clock: Callable[[], int] = clock_ns,
) -> Tuple[int, float]:
    """Fill `buffer` with durations in ns: how many, and the seconds they took in all.

    Ends when `round_s` is over and `round_samples` are taken, or when the buffer is full. The collector
    is off; taking the next feed is outside of what is timed.
    """
    capacity, least = len(buffer), min(round_samples, len(buffer))
    next_feed = itertools.cycle(feeds).__next__
    with without_collector():
        count = 0
        begin = clock()
        deadline = begin + int(round_s * 1e9)
        while True:
            feed = next_feed()
            started = clock()
            infer(feed)
            ended = clock()
            buffer[count] = ended - started
            count += 1
            if (ended >= deadline and count >= least) or count == capacity:
                return count, (ended - begin) / 1e9
