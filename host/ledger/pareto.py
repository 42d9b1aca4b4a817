"""What nothing beats in everything: the Pareto front over accuracy, latency, size and energy. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from host.ledger.ranking import find_accuracy

Row = Mapping[str, Any]


class Front(NamedTuple):
    """`on_front` says of each row whether it is on the front; `axes` names what was looked at.

    `left_out` are the axes that not every row has a figure of: what was not measured cannot be compared.
    """

    axes: tuple[str, ...]
    left_out: tuple[str, ...]
    on_front: tuple[bool, ...]


AXES = ("accuracy", "latency", "size", "energy")


def find_value(row: Row, axis: str) -> float | None:
    """A row's figure on an axis in its own unit: a share, ms (p50), bytes of the file, mJ."""
    found = {
        "accuracy": find_accuracy(row)[0],
        "latency": row["latency_ms"]["p50"],
        "size": row["file_bytes"],
        "energy": row["power"]["energy_mj"],
        "memory": row["memory_mb"]["peak"],
        "power": row["power"]["load_w"],
    }[axis]
    return None if found is None else float(found)


def find_front(rows: Sequence[Row], axes: Sequence[str] = AXES) -> Front:
    """The front of rows that can be compared: of one device, model, batch size and scenario.

    A row is beaten by another that is as good on every axis and better on one; equal rows do not beat each
    other. Figures are taken as they are, without their intervals. Rows that failed are on no front.
    """
    measured = [row["status"] == "ok" for row in rows]
    values = [[find_value(row, axis) for axis in axes] for row in rows]
    held = [line for line, is_ok in zip(values, measured, strict=True) if is_ok]
    known = [at for at in range(len(axes)) if held and all(line[at] is not None for line in held)]
    costs = [[_as_cost(axes[at], line[at] or 0.0) for at in known] for line in held]
    kept = iter(find_unbeaten(costs) if known else [False] * len(held))
    return Front(
        axes=tuple(axes[at] for at in known),
        left_out=tuple(axis for at, axis in enumerate(axes) if at not in known),
        on_front=tuple(next(kept) if is_ok else False for is_ok in measured),
    )


def _as_cost(axis: str, value: float) -> float:
    return -value if axis == "accuracy" else value


def find_unbeaten(costs: Sequence[Sequence[float]]) -> list[bool]:
    """Of points of which less is better on every axis, those that no other one beats."""
    if not costs:
        return []
    points = np.asarray(costs, dtype=np.float64)
    return [
        not bool(np.any(np.all(points <= point, axis=1) & np.any(points < point, axis=1))) for point in points
    ]
