"""Which variant to take on which board: the best by one figure among those that keep every limit. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from host.ledger.pareto import find_front
from host.ledger.ranking import find_places
from host.ledger.wishes import Choice, Goal, Miss, Row, Wishes, describe_choice, find_figure, find_misses
from host.picks import pick_places
from host.specs.record import Record


class Fallen(Record):
    """A variant that was ruled out, with every reason."""

    choice: Choice
    misses: tuple[Miss, ...]


class Named(Record):
    """The three picks, each by its task. `balance_axes` are the figures that the balance is struck over."""

    best_accuracy: str
    best_compression: str
    best_balance: str
    balance_axes: tuple[str, ...]


class Ranking(Record):
    """What one device makes of one model at one batch size and in one scenario.

    `winner` is None where nothing keeps the limits; `nearest` is then the task that misses them by least.
    `rivals` cannot be told from the winner: their intervals overlap, or their figures are equal. `front`
    holds the tasks on the Pareto front over `front_axes`, and `front_without` the axes that it lacks.
    """

    device: str
    board: str
    is_emulated: bool
    price: float | None
    model: str
    batch: int
    scenario: str | None
    winner: Choice | None
    rivals: tuple[Choice, ...]
    others: tuple[Choice, ...]
    fallen: tuple[Fallen, ...]
    nearest: str | None
    front: tuple[str, ...]
    front_axes: tuple[str, ...]
    front_without: tuple[str, ...]
    picks: Named | None


def rank_rows(
    rows: Iterable[Row], wishes: Wishes, prices: Mapping[str, float] | None = None
) -> list[Ranking]:
    """A ranking for each device, model, batch size and scenario, in the order of the rows.

    Rows are those of `result_rows`. What no board was asked for is told beside what was.
    """
    listed = list(rows)
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row, place in zip(listed, find_places(listed), strict=True):
        groups.setdefault(place, []).append(row)
    return [_rank(group, wishes, prices or {}) for group in groups.values()]


def _rank(rows: Sequence[Row], wishes: Wishes, prices: Mapping[str, float]) -> Ranking:
    front = find_front(rows)
    choices = [
        describe_choice(row, wishes, on_front) for row, on_front in zip(rows, front.on_front, strict=True)
    ]
    judged = [
        (choice, tuple(find_misses(row, choice, wishes))) for row, choice in zip(rows, choices, strict=True)
    ]
    kept = sorted(
        (choice for choice, misses in judged if not misses), key=lambda choice: _rank_key(choice, wishes.goal)
    )
    fallen = tuple(Fallen(choice=choice, misses=misses) for choice, misses in judged if misses)
    rivals: list[Choice] = []
    others: list[Choice] = []
    for choice in kept[1:]:
        (others if is_clearly_better(kept[0], choice, wishes) else rivals).append(choice)
    return Ranking(
        device=rows[0]["device"],
        board=next((row["board"] for row in rows if row["status"] == "ok"), rows[0]["board"]),
        is_emulated=rows[0]["is_emulated"],
        price=prices.get(rows[0]["device"]),
        model=rows[0]["model"],
        batch=rows[0]["batch"],
        scenario=next((row["scenario"] for row in rows if row["scenario"]), None),
        winner=kept[0] if kept else None,
        rivals=tuple(rivals),
        others=tuple(others),
        fallen=fallen,
        nearest=None if kept else find_nearest(fallen),
        front=tuple(choice.task for choice in choices if choice.on_front),
        front_axes=front.axes,
        front_without=front.left_out,
        picks=pick_three(kept),
    )


def _rank_key(choice: Choice, goal: Goal) -> tuple[float, float, float]:
    """The better first; equal ones by latency, then by size."""
    value = find_figure(choice, goal) or 0.0  # never None: a lack is a miss
    signed = -value if goal == "accuracy" else value
    return signed, choice.latency_ms if choice.latency_ms is not None else math.inf, choice.file_bytes


def is_clearly_better(best: Choice, other: Choice, wishes: Wishes) -> bool:
    """Whether the winner is better as far as is known: intervals of p50 apart, or other figures unequal."""
    if wishes.goal == "latency":
        if wishes.percentile != "p50":
            return True  # of no other percentile an interval is known: the order is told with that doubt
        if best.p50_ci is None or other.p50_ci is None:
            return False
        return best.p50_ci[1] < other.p50_ci[0]
    return find_figure(best, wishes.goal) != find_figure(other, wishes.goal)


def find_nearest(fallen: Sequence[Fallen]) -> str | None:
    """The task whose worst miss is the smallest share of its limit, of those that were measured in full."""
    worst = {
        one.choice.task: max(miss.excess for miss in one.misses if miss.excess is not None)
        for one in fallen
        if all(miss.excess is not None for miss in one.misses)
    }
    return min(worst, key=worst.__getitem__) if worst else None


def pick_three(kept: Sequence[Choice]) -> Named | None:
    """Best accuracy, best compression and best balance among those that keep the limits.

    None where fewer than two come into question. Sizes are packed ones where all are known, else those of the
    files. The balance is struck over accuracy, size and latency, and energy where all are known.
    """
    fit = [choice for choice in kept if choice.accuracy is not None and choice.latency_ms]
    if len(fit) < 2:
        return None
    packed = [choice.packed_bytes for choice in fit]
    has_packed = all(packed)
    sizes = [float(choice.packed_bytes or 0) if has_packed else float(choice.file_bytes) for choice in fit]
    energies = [choice.energy_mj for choice in fit if choice.energy_mj is not None and choice.energy_mj > 0]
    has_energy = len(energies) == len(fit)
    places = pick_places(
        [choice.accuracy or 0.0 for choice in fit],
        sizes,
        [choice.latency_ms or 0.0 for choice in fit],
        *([energies] if has_energy else []),
    )
    size = "packed size" if has_packed else "file size"
    return Named(
        best_accuracy=fit[places.accurate].task,
        best_compression=fit[places.smallest].task,
        best_balance=fit[places.balanced].task,
        balance_axes=("accuracy", size, "latency", *(["energy"] if has_energy else [])),
    )
