"""Timed loops beside the plain one: inferences at a given rate, and a long loop of which a part is kept."""

import itertools
import math
import time
from array import array
from typing import Any, Callable, List, NamedTuple, Sequence, Tuple

from device_agent import protocol
from device_agent.timing import PACE_MARGIN, Infer, clock_ns, without_collector

KEPT_SAMPLES = 10000
"""About how many samples of each piece of a sustained loop are kept; counts and sums are of all."""


class Paced(NamedTuple):
    """One paced round: how many were `done` of those that were `due`, and in how many seconds.

    `missed` of the done ones were completed after their deadline. `waits_ns` says how late each sleep
    ended; it is empty where the model never had to wait for its camera.
    """

    done: int
    due: int
    missed: int
    waits_ns: List[int]
    seconds: float


def choose_paced_capacity(round_s: float, round_samples: int, rate_hz: float) -> int:
    """Samples that a paced round can hold: never more are due."""
    return min(max(round_samples, math.ceil(round_s * rate_hz)) + 64, protocol.MAX_ROUND_SAMPLES)


def pace_round(
    infer: Infer,
    feeds: Sequence[Any],
    buffer: "array[int]",
    round_s: float,
    round_samples: int,
    rate_hz: float,
    deadline_s: float,
    clock: Callable[[], int] = clock_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> Paced:
    """Fill `buffer` with the ns from the moment that each inference was due to its completion.

    A camera: frame k is due at k / rate. Whoever is busy finds the newest frame afterwards, and those before
    it are dropped: a queue of one. Ends when `round_s` is over and `round_samples` are done, or when the
    buffer is full. It sleeps until a frame is due, as an application would; that it is woken late counts.
    """
    capacity, least = len(buffer), min(round_samples, len(buffer))
    period, deadline = int(1e9 / rate_hz), int(deadline_s * 1e9)
    next_feed = itertools.cycle(feeds).__next__
    waits: List[int] = []
    count = frame = missed = 0
    with without_collector():
        begin = clock()
        end = begin + int(round_s * 1e9)
        while True:
            feed = next_feed()
            now = clock()
            arrival = begin + frame * period
            if now < arrival:
                while now < arrival:
                    sleep((arrival - now) / 1e9)
                    now = clock()
                waits.append(now - arrival)
            frame = (now - begin) // period
            due = begin + frame * period
            infer(feed)
            ended = clock()
            frame += 1
            buffer[count] = ended - due
            missed += ended - due > deadline
            count += 1
            if (ended >= end and count >= least) or count == capacity:
                return Paced(count, frame, missed, waits, (ended - begin) / 1e9)


class Kept(NamedTuple):
    """One piece of a sustained loop: samples kept, inferences, the ns that they took, and seconds in all."""

    kept: int
    inferences: int
    sum_ns: int
    seconds: float


def choose_stride(piece_s: float, shortest_ns: int) -> Tuple[int, int]:
    """Of every how many inferences one is kept, and how many samples a piece can hold."""
    expected = piece_s * 1e9 / max(shortest_ns, 1)
    stride = max(1, math.ceil(expected / KEPT_SAMPLES))
    capacity = int(PACE_MARGIN * expected / stride) + 64
    return stride, min(capacity, protocol.MAX_ROUND_SAMPLES)


def sustain_piece(
    infer: Infer,
    feeds: Sequence[Any],
    buffer: "array[int]",
    piece_s: float,
    stride: int,
    clock: Callable[[], int] = clock_ns,
) -> Kept:
    """Infer for `piece_s`, keep the duration in ns of every `stride`th, and count all.

    A full buffer only ends the keeping: how long a piece lasts is the same for each.
    """
    capacity = len(buffer)
    next_feed = itertools.cycle(feeds).__next__
    count = kept = total = 0
    with without_collector():
        begin = clock()
        deadline = begin + int(piece_s * 1e9)
        while True:
            feed = next_feed()
            started = clock()
            infer(feed)
            ended = clock()
            taken = ended - started
            total += taken
            if not count % stride and kept < capacity:
                buffer[kept] = taken
                kept += 1
            count += 1
            if ended >= deadline:
                return Kept(kept, count, total, (ended - begin) / 1e9)
