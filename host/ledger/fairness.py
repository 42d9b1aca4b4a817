"""What makes two measurements unfair to compare: settings, versions and conditions that differ. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from host.ledger.matching import Row, Subject
from host.ledger.records import RunRecord
from host.ledger.rows import read_setting
from host.specs.profile import OPTIONS
from host.specs.record import Record

CLOCK_DIFFERS = 0.05
"""Clocks that differ by more than this share are told; measured ones waver by less."""
WARMER_C = 10.0
"""As for the flag `hot-start`: a processor so much hotter leaks more, and is nearer to throttling."""

SETTINGS = ("runtime", "provider", "threads", "batch", "scenario", *OPTIONS)
OF_A_BOARD = ("board", "kernel")
"""What two devices differ in by nature, and so is not told of them."""


class Unlike(Record):
    """One thing that differs between two measurements: both values as a person reads them.

    `what` is one of `emulated`, `flags`, a setting, `versions.*`, `board`, `governor`, `clock`, `gpu clock`,
    `temperature`, `power`, `protocol`, `input` and `file`. A value that is not known is `-`.
    """

    what: str
    first: str
    second: str


def find_unlike(
    first: Row, second: Row, subject: Subject, runs: Mapping[str, RunRecord] | None = None
) -> tuple[Unlike, ...]:
    """All that differs and should not, the gravest first; `runs` tell how each was measured."""
    found = [
        *_find_emulated(first, second),
        *_find_flags(first, second),
        *_find_settings(first, second),
        *_find_protocol(first, second, runs or {}),
        *_find_conditions(first, second, subject),
        *_find_versions(first, second, subject),
        *_find_sensors(first, second),
    ]
    if subject == "run" and first["model_sha256"] != second["model_sha256"]:
        found.append(_unlike("file", first["model_sha256"][:12], second["model_sha256"][:12]))
    return tuple(found)


def _unlike(what: str, first: Any, second: Any) -> Unlike:
    return Unlike(what=what, first=_tell(first), second=_tell(second))


def _tell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _find_emulated(first: Row, second: Row) -> Iterator[Unlike]:
    if first["is_emulated"] != second["is_emulated"]:
        yield _unlike("emulated", *("emulated" if row["is_emulated"] else "real" for row in (first, second)))


def _find_flags(first: Row, second: Row) -> Iterator[Unlike]:
    """Flags count on either side, and also where both have them: what throttles is no figure of a board."""
    flags = [" ".join(flag for flag in row["flags"] if flag != "emulated") for row in (first, second)]
    if any(flags):
        yield _unlike("flags", flags[0] or "none", flags[1] or "none")


def _find_settings(first: Row, second: Row) -> Iterator[Unlike]:
    for name in SETTINGS:
        values = [read_setting(row, name) for row in (first, second)]
        if values[0] != values[1]:
            yield _unlike(name, *values)


def _find_protocol(first: Row, second: Row, runs: Mapping[str, RunRecord]) -> Iterator[Unlike]:
    """How both were measured, and on which input; only runs know it."""
    if first["run"] == second["run"] or not {first["run"], second["run"]} <= runs.keys():
        return
    plans = [runs[row["run"]].plan for row in (first, second)]
    rules = [plan.get("measure") for plan in plans]
    if rules[0] != rules[1]:
        yield Unlike(what="protocol", **dict(zip(("first", "second"), _tell_rules(*rules), strict=True)))
    inputs = [_find_input(plan, row["variant_id"]) for plan, row in zip(plans, (first, second), strict=True)]
    if inputs[0] != inputs[1]:
        yield Unlike(what="input", **dict(zip(("first", "second"), _tell_rules(*inputs), strict=True)))


def _tell_rules(first: Any, second: Any) -> tuple[str, str]:
    """The values that differ on both sides: `rounds 3, round_s 0.5`."""
    one, other = (held if isinstance(held, dict) else {} for held in (first, second))
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    told = tuple(
        ", ".join(f"{name} {_tell(held.get(name))}" for name in names) or "-" for held in (one, other)
    )
    return told[0], told[1]


def _find_input(plan: Mapping[str, Any], variant_id: str) -> dict[str, Any]:
    """What the plan says of a variant's input: its shape and preparation, or the shapes given to a file."""
    for item in plan.get("variants") or ():
        if item.get("id") == variant_id:
            recipe = item.get("recipe") or {}
            return {"data": recipe.get("data"), **(recipe.get("input") or {})}
    for item in plan.get("files") or ():
        if item.get("id") == variant_id:
            return {"shapes": item.get("shapes") or None}
    return {}


def _find_conditions(first: Row, second: Row, subject: Subject) -> Iterator[Unlike]:
    boards = first["board"], second["board"]
    if subject != "device" and boards[0] != boards[1]:
        yield _unlike("board", *boards)
    governors = [_look(row, "before", "governor") for row in (first, second)]
    if governors[0] != governors[1]:
        yield _unlike("governor", *governors)
    if subject != "device":
        yield from _find_clocks(first, second)
    degrees = [_look(row, "before", "temperature_c") for row in (first, second)]
    if _are_numbers(degrees) and abs(degrees[0] - degrees[1]) > WARMER_C:
        yield _unlike("temperature", *(f"{value:.0f} °C" for value in degrees))


def _find_clocks(first: Row, second: Row) -> Iterator[Unlike]:
    for what, key in (("clock", "highest_mhz"), ("gpu clock", "gpu_mhz")):
        clocks = [_look(row, "during", key) for row in (first, second)]
        if _are_numbers(clocks) and min(clocks) < (1 - CLOCK_DIFFERS) * max(clocks):
            yield _unlike(what, *(f"{value:.0f} MHz" for value in clocks))


def _find_versions(first: Row, second: Row, subject: Subject) -> Iterator[Unlike]:
    told = [row["environment"].get("versions") for row in (first, second)]
    versions = [held if isinstance(held, Mapping) else {} for held in told]
    for name in {**versions[0], **versions[1]}:
        values = [held.get(name) for held in versions]
        # Of different runtimes the version differs by nature; that they differ is told as a setting.
        is_same_kind = name != "runtime" or first["runtime"] == second["runtime"]
        if values[0] != values[1] and is_same_kind and not (subject == "device" and name in OF_A_BOARD):
            yield _unlike(f"versions.{name}", *values)


def _find_sensors(first: Row, second: Row) -> Iterator[Unlike]:
    """Sensors see different parts of a board: figures of two of them are no comparison."""
    sources = [row["power"]["source"] for row in (first, second)]
    if None not in sources and sources[0] != sources[1]:
        yield _unlike("power", *sources)


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether a board told both; what it calls a clock need not be a number."""
    return all(isinstance(value, int | float) for value in values)


def _look(row: Row, when: str, name: str) -> Any:
    """A value of the environment; None where the board did not tell it."""
    held = row["environment"].get(when)
    return held.get(name) if isinstance(held, Mapping) else None


class Told(Record):
    """One thing that differs, with how many of the pairs differ so."""

    what: str
    first: str
    second: str
    pairs: int


def count_unlike(found: Sequence[Sequence[Unlike]]) -> tuple[Told, ...]:
    """Every difference once, in the order in which it appears, with the number of pairs that it holds for."""
    counts: dict[tuple[str, str, str], int] = {}
    for unlike in found:
        for one in unlike:
            key = one.what, one.first, one.second
            counts[key] = counts.get(key, 0) + 1
    return tuple(
        Told(what=what, first=first, second=second, pairs=count)
        for (what, first, second), count in counts.items()
    )
