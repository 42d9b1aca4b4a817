"""What each validity flag of a measurement means, in a line."""

from __future__ import annotations

from collections.abc import Iterable

from host.report.cells import clean_text

MEANINGS = {
    "throttled": "the board slowed itself down for heat or power while measuring",
    "frequency-dropped": "the clock fell by more than 10 % below what it was when measuring began",
    "drift": "the last quarter of the samples is more than 3 % slower than the first",
    "unsteady": "warm-up ended at its time limit before the latency was steady",
    "busy": "other processes took CPU time while measuring",
    "hot-start": "a round began more than 10 °C above the board's idle temperature",
    "fallback": "not every part of the model ran on the provider that was asked for",
    "emulated": "an emulated device: its figures compare variants, they do not tell a board's speed",
}


def explain_flags(flags: Iterable[str]) -> list[str]:
    """A line for each flag that occurs, in a fixed order; one that this release does not know comes last."""
    found = set(flags)
    known = [f"{flag}: {meaning}" for flag, meaning in MEANINGS.items() if flag in found]
    unknown = sorted(found - set(MEANINGS))
    return known + [f"{clean_text(flag)}: not known to this release" for flag in unknown]
