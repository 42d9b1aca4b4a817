"""The ranking of a sweep in sentences: who is fastest within the limits, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from host.ledger.recommending import Ranking
from host.report.advice import name_choice, tell_place
from host.report.cells import choose_decimals, clean_text, format_accuracy, format_flags, format_number

Row = Mapping[str, Any]


def describe_winner(ranking: Ranking, rows: Iterable[Row]) -> list[str]:
    """A line on the fastest variant of a device, then one on its rivals and one for each that fell.

    `rows` are those that were ranked: they know how fast the winner is beside the dense baseline.
    """
    lines = [f"{tell_place(ranking)}: {_tell_fastest(ranking, rows)}"]
    if ranking.rivals:
        names = ", ".join(name_choice(ranking, rival) for rival in ranking.rivals)
        lines.append(f"  not clearly faster than {names}: the intervals overlap, or one is not known")
    for item in ranking.fallen:
        reasons = "; ".join(clean_text(miss.text) for miss in item.misses)
        lines.append(f"  ruled out: {name_choice(ranking, item.choice)}: {reasons}")
    return lines


def _tell_fastest(ranking: Ranking, rows: Iterable[Row]) -> str:
    winner = ranking.winner
    if winner is None:
        return "nothing keeps the limits"
    p50 = format_number(winner.latency_ms, choose_decimals([winner.latency_ms]))
    told = [f"p50 {p50} ms"]
    (speedup,) = (row["speedup"] for row in rows if (row["run"], row["task"]) == (winner.run, winner.task))
    if speedup is not None:
        told.append(f"{speedup:.2f}× as fast as dense")
    if winner.accuracy is not None:
        told.append(f"accuracy {format_accuracy(winner.accuracy, None)} %")
    if winner.flags:
        told.append(f"flagged {format_flags(winner.flags)}")
    return f"{name_choice(ranking, winner)} is the fastest within the limits: {', '.join(told)}"
