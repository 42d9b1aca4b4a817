"""What a page says in words: who won and why others fell, what failed, and what was not measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from host.ledger.ranking import find_accuracy
from host.ledger.recommending import Ranking, rank_rows
from host.ledger.reported import ReportedRun
from host.ledger.wishes import Miss, describe_wishes
from host.report.cells import choose_decimals, clean_text, format_number
from host.report.flags import explain_flags
from host.report.page.entries import Arranged, Entry, Group, shorten
from host.report.page.provenance import list_moments

Row = Mapping[str, Any]

MOST_REASONS = 6
LONGEST_REASON = 400
AXIS_WORDS = {"latency": "p50", "size": "file size", "energy": "energy", "accuracy": "accuracy"}


class Fallen(NamedTuple):
    title: str
    reasons: tuple[str, ...]


class Choice(NamedTuple):
    """What one group comes to. `picks` are (what for, row); `front` is empty where nothing was measured."""

    group: Group
    fastest: Entry | None
    facts: tuple[str, ...]
    rivals: tuple[Entry, ...]
    picks: tuple[tuple[str, Entry], ...]
    front: tuple[Entry, ...]
    front_axes: str
    fallen: tuple[Fallen, ...]


class Failed(NamedTuple):
    entry: Entry
    group: Group
    kind: str
    message: str


def choose(reported: Sequence[ReportedRun], arranged: Arranged) -> tuple[Choice, ...]:
    """The ranking of each group within the limits of its run, and its Pareto front."""
    places = {(entry.row["run"], entry.row["task"]): entry for entry in arranged.entries}
    found = [
        _choose(one.run.id, ranking, places, arranged)
        for one in reported
        for ranking in rank_rows(one.rows, describe_wishes(one.run.limits))
    ]
    return tuple(sorted(found, key=lambda one: one.group.is_emulated))


def _choose(
    run: str, ranking: Ranking, places: Mapping[tuple[str, str], Entry], arranged: Arranged
) -> Choice:
    winner, picks = ranking.winner, ranking.picks
    fastest = places[run, winner.task] if winner else None
    first = fastest or places[run, ranking.fallen[0].choice.task]
    named = (
        {
            "best accuracy": picks.best_accuracy,
            "best compression": picks.best_compression,
            "best balance": picks.best_balance,
        }
        if picks
        else {}
    )
    return Choice(
        group=arranged.groups[first.group],
        fastest=fastest,
        facts=tuple(_tell_fastest(fastest.row)) if fastest else (),
        rivals=tuple(places[run, one.task] for one in ranking.rivals),
        picks=tuple((title, places[run, task]) for title, task in named.items()),
        front=tuple(places[run, task] for task in ranking.front),
        front_axes=", ".join(AXIS_WORDS[axis] for axis in ranking.front_axes),
        fallen=tuple(_tell_fallen(places[run, item.choice.task], item.misses) for item in ranking.fallen),
    )


def _tell_fallen(entry: Entry, misses: Iterable[Miss]) -> Fallen:
    return Fallen(entry.title, tuple(shorten(miss.text, LONGEST_REASON) for miss in misses))


def _tell_fastest(row: Row) -> Iterable[str]:
    p50, accuracy = row["latency_ms"]["p50"], find_accuracy(row)[0]
    yield f"p50 {format_number(p50, choose_decimals([p50]))} ms"
    if row["speedup"] is not None and not row["is_baseline"]:
        yield f"{row['speedup']:.2f}× as fast as dense"
    if accuracy is not None:
        yield f"accuracy {100 * accuracy:.1f} %"
    flags = [clean_text(flag) for flag in row["flags"] if flag != "emulated"]
    if flags:
        yield f"flagged {', '.join(flags)}"


def list_failures(arranged: Arranged, status: str) -> tuple[Failed, ...]:
    """The rows of a status without figures, and why they have none."""
    found = [entry for entry in arranged.entries if entry.row["status"] == status]
    return tuple(
        Failed(
            entry,
            arranged.groups[entry.group],
            clean_text((entry.row["error"] or {}).get("kind", "unknown")),
            clean_text((entry.row["error"] or {}).get("message", "")),
        )
        for entry in found
    )


def explain_flags_of(arranged: Arranged) -> tuple[tuple[str, str, int], ...]:
    """Each flag that occurs, what it means, and on how many rows it is."""
    counts: dict[str, int] = {}
    for entry in arranged.entries:
        for flag in entry.row["flags"]:
            counts[clean_text(flag)] = counts.get(clean_text(flag), 0) + 1
    lines = (line.partition(": ") for line in explain_flags(counts))
    return tuple((name, meaning, counts[name]) for name, _, meaning in lines)


def tell_lacks(arranged: Arranged) -> dict[str, tuple[str, ...]]:
    """For each part of the page, what was not measured and why, as far as a board told."""
    return {
        "power": tuple(_each_group(arranged, _tell_power)),
        "temperature": tuple(_each_group(arranged, _tell_temperature)),
        "energy": tuple(_each_group(arranged, _tell_energy)),
    }


def _each_group(arranged: Arranged, tell: Callable[[Sequence[Row]], Iterable[str]]) -> Iterable[str]:
    for number, group in enumerate(arranged.groups):
        rows = [entry.row for entry in arranged.entries_of(number) if entry.row["status"] == "ok"]
        yield from (f"{group.title}: {sentence}" for sentence in (tell(rows) if rows else ()))


def _tell_power(rows: Sequence[Row]) -> Iterable[str]:
    sources = {clean_text(row["power"]["source"]) for row in rows if row["power"]["source"]}
    if not sources:
        yield "no sensor that we can read, so there is no power and no energy."
        return
    yield f"from {' and '.join(sorted(sources))}."
    notes = dict.fromkeys(row["power"]["note"] for row in rows if row["power"]["note"])
    yield from (shorten(note, LONGEST_REASON) for note in list(notes)[:MOST_REASONS])


def _tell_energy(rows: Sequence[Row]) -> Iterable[str]:
    measured = sum(row["power"]["energy_mj"] is not None for row in rows)
    if measured < len(rows):
        yield f"energy is known of {measured} of {len(rows)} rows."


def _tell_temperature(rows: Sequence[Row]) -> Iterable[str]:
    states = [state for row in rows for _, state in list_moments(row["environment"])]
    if not any(isinstance(state.get("temperature_c"), int | float) for state in states):
        yield "no thermometer that we can read."
    if not any(state.get("freq_mhz") for state in states):
        yield "it does not tell its clocks."
