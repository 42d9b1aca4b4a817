"""What every ranking stands on: which rows may be ranked with each other, and which accuracy counts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MIB = 1024 * 1024

PLACE = ("device", "is_emulated", "model", "batch", "scenario")
"""What rows of one run share that are ranked with each other: latencies of other batch sizes or scenarios are
not compared, and emulated devices never stand beside real ones."""


def find_places(rows: Sequence[Mapping[str, Any]], names: Sequence[str] = PLACE) -> list[tuple[Any, ...]]:
    """Of each row, what it shares with those that it is ranked with; the last of the names is the scenario.

    A row that no board was asked for belongs to those that were.
    """
    *where, scenario = names
    places = [tuple(row[name] for name in where) for row in rows]
    known: dict[tuple[Any, ...], str | None] = {}
    for place, row in zip(places, rows, strict=True):
        known[place] = known.get(place) or row[scenario]
    return [(*place, row[scenario] or known[place]) for place, row in zip(places, rows, strict=True)]


def find_accuracy(row: Mapping[str, Any]) -> tuple[float | None, str]:
    """The accuracy that counts and where it was measured: on the device, else on the host."""
    if row["accuracy_device"] is not None:
        return row["accuracy_device"], "device"
    return row["accuracy_host"], "host"
