"""What the rounds of a scenario come to: deadlines of a paced one, minutes of a sustained one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.fleet.journal import Round
from host.ledger.statistics import NS_PER_MS, is_supported
from host.specs.measure import Measure
from host.specs.measurement import Paced, Piece, Sustained

_ON_GPU = ("GPU", "CUDA", "Tensorrt")  # in the name of a provider, as the agent judges it


class Held(NamedTuple):
    """One round: what the board told of it, and its samples in ns."""

    told: Round
    samples: NDArray[np.int64]


def describe_paced(measure: Measure, rounds: Sequence[Held], batch: int) -> Paced | None:
    """The deadlines of all rounds together; None for another scenario, or where no round came."""
    told = [held.told.paced for held in rounds if held.told.paced is not None]
    if measure.rate_hz is None or measure.deadline_ms is None or not told:
        return None
    due, done = sum(one.due for one in told), sum(held.told.count for held in rounds)
    missed = sum(one.missed for one in told)
    wakeups = [one.wakeup_ms for one in told if one.wakeup_ms is not None]
    return Paced(
        rate_hz=measure.rate_hz,
        deadline_ms=measure.deadline_ms,
        due=due,
        done=done,
        dropped=due - done,
        missed=missed,
        miss_rate=(due - done + missed) / due,
        wakeup_ms=median(wakeups) if wakeups else None,
        throughput_ips=batch * done / sum(held.told.seconds for held in rounds),
    )


def describe_sustained(
    measure: Measure, rounds: Sequence[Held], batch: int, provider: str = ""
) -> Sustained | None:
    """The pieces of one long loop; None for another scenario, or where not all of them came.

    The clocks are those of what computes: of the GPU where `provider` is one.
    """
    if measure.duration_s is None or len(rounds) != measure.rounds:
        return None
    on_gpu = any(word in provider for word in _ON_GPU)
    pieces = tuple(_describe_piece(number, held, batch, on_gpu) for number, held in enumerate(rounds))
    first, last = pieces[0].throughput_ips, pieces[-1].throughput_ips
    seconds = sum(held.told.seconds for held in rounds)
    return Sustained(
        duration_s=measure.duration_s,
        minutes=pieces,
        first_ips=first,
        last_ips=last,
        ratio=last / first,
        throughput_ips=batch * sum(piece.inferences for piece in pieces) / seconds,
    )


def _describe_piece(number: int, held: Held, batch: int, on_gpu: bool) -> Piece:
    told = held.told
    inferences = told.count if told.inferences is None else told.inferences
    p50 = float(np.median(held.samples)) / NS_PER_MS if is_supported(0.5, len(held.samples)) else None
    during, after = _look(told.environment, "during"), _look(told.environment, "after")
    cpu_clocks = (during.get("lowest_mhz"), _fastest(after.get("freq_mhz")))
    return Piece(
        minute=number + 1,
        seconds=told.seconds,
        inferences=inferences,
        throughput_ips=batch * inferences / told.seconds,
        p50_ms=p50,
        temperature_c=_first_number(during.get("temperature_c_max"), after.get("temperature_c")),
        freq_mhz=_first_number(during.get("gpu_mhz")) if on_gpu else _first_number(*cpu_clocks),
    )


def _look(environment: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of what a board says of itself, which may be anything."""
    found = environment.get(name)
    return found if isinstance(found, Mapping) else {}


def _first_number(*values: Any) -> float | None:
    return next((float(value) for value in values if _is_number(value)), None)


def _fastest(clocks: Any) -> float | None:
    told = [clock for clock in clocks if _is_number(clock)] if isinstance(clocks, list) else []
    return max(told, default=None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
