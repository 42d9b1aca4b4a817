"""Which figures are the best of those that they can be compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

from host.ledger.flat import Field
from host.ledger.naming import ACCURACY, HIGHER_IS_BETTER, LOWER_IS_BETTER, PAPER, find_field, read_field
from host.ledger.rows import COMPARABLE, read_setting

Row = Mapping[str, Any]
Best = Mapping[tuple[Any, ...], float]

ON_A_DEVICE = ("run", "device", "model", "batch", "scenario")
"""What rows must share for their figures to be rivals, where `RIVALS` says nothing else."""

_read_place = itemgetter(*ON_A_DEVICE)

RIVALS: dict[str, tuple[str, ...]] = {
    "speedup": COMPARABLE,
    "throughput_ips": ("run", "device", "model", "scenario"),
    **dict.fromkeys(("accuracy", "accuracy_device", "agreement"), ("model", "is_emulated")),
    **dict.fromkeys(("accuracy_host", *PAPER), ("model",)),
}

OF_THE_TABLE = {
    **{name: find_field(name) for name in ("p50", "p90", "peak", "energy", "size", "gzip", "packed")},
    **{name: find_field(name) for name in ("params", "macs", "speedup", "throughput")},
    "missed": find_field("paced.miss_rate"),
    "ratio": find_field("sustained.ratio"),
    "accuracy": ACCURACY,
}
"""The columns of the comparison in which the best is marked, and what they hold."""


def find_best(rows: Iterable[Row], fields: Iterable[Field] = tuple(OF_THE_TABLE.values())) -> Best:
    """The best value of each figure among rows that can be compared; of those alone that were measured.

    Nothing is best where there is nothing to choose from.
    """
    values: dict[tuple[Any, ...], set[float]] = {}
    judged = [field for field in fields if field.name in LOWER_IS_BETTER + HIGHER_IS_BETTER]
    for row in (row for row in rows if row["status"] == "ok"):
        for field in judged:
            value = read_field(row, field)
            if value is not None:
                values.setdefault(_key(row, field), set()).add(value)
    choose = {field.name: max if field.name in HIGHER_IS_BETTER else min for field in judged}
    return {key: choose[key[0]](found) for key, found in values.items() if len(found) > 1}


def is_best(best: Best, row: Row | None, field: Field) -> bool:
    """Whether the row has the best value of a figure."""
    if row is None or row["status"] != "ok":
        return False
    value = read_field(row, field)
    return value is not None and best.get(_key(row, field)) == value


def _key(row: Row, field: Field) -> tuple[Any, ...]:
    shared = RIVALS.get(field.name)
    if shared is None:
        return field.name, _read_place(row)
    return field.name, *(read_setting(row, name) for name in shared)
