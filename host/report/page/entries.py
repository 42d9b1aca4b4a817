"""Rows in groups that may be compared, each with a number that the whole page knows it by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from device_agent.protocol import SINGLE_STREAM
from host.ledger.distributions import Shape
from host.ledger.ranking import PLACE, find_places
from host.ledger.reported import ReportedRun
from host.ledger.rows import read_setting
from host.report.cells import clean_text
from host.report.comparison import tell_setting
from host.specs.profile import OPTIONS

Row = Mapping[str, Any]

LONGEST_NAME = 100
SHARED = ("run", *PLACE)
"""What rows of one group have in common. Figures of two groups are never ranked."""
OWN = ("runtime", "provider", "threads", *OPTIONS)
"""What may tell rows of one variant in one group apart."""


class Group(NamedTuple):
    """Rows of one run, device, model, batch and scenario; `title` says what no other group shares."""

    title: str
    run: str
    device: str
    is_emulated: bool
    model: str
    batch: int
    scenario: str | None
    board: str


class Entry(NamedTuple):
    """One row; `key` is equal for the same variant with the same settings wherever it ran."""

    number: int
    group: int
    row: Row
    shape: Shape | None
    variant: str
    settings: str
    key: str

    @property
    def title(self) -> str:
        return f"{self.variant} ({self.settings})" if self.settings else self.variant


class Arranged(NamedTuple):
    """`varying` are those of `SHARED` that differ between groups, `apart` those of `OWN` within one."""

    groups: tuple[Group, ...]
    entries: tuple[Entry, ...]
    varying: tuple[str, ...]
    apart: tuple[str, ...]

    def entries_of(self, group: int) -> list[Entry]:
        return [entry for entry in self.entries if entry.group == group]


def arrange(reported: Sequence[ReportedRun]) -> Arranged:
    """Everything that was read, real boards first, in the order of runs and plans."""
    found = [(row, one.shapes.get(row["task"])) for one in reported for row in one.rows]
    found.sort(key=lambda item: item[0]["is_emulated"])
    rows = [row for row, _ in found]
    keys = find_places(rows, SHARED)
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    varying = tuple(name for at, name in enumerate(SHARED) if len({key[at] for key in numbers}) > 1)
    apart = _find_apart(rows, keys)
    labels = _label_variants(rows)
    entries = tuple(
        _make_entry(number, numbers[key], row, shape, labels, apart)
        for number, ((row, shape), key) in enumerate(zip(found, keys, strict=True))
    )
    groups = tuple(_make_group(key, varying, entries[keys.index(key)].row) for key in numbers)
    return Arranged(groups, entries, varying, apart)


def shorten(value: Any, longest: int = LONGEST_NAME) -> str:
    """A name as harmless text of one line, its middle left out where nobody would read it to the end."""
    text = clean_text(value)
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


def _find_apart(rows: Sequence[Row], keys: Sequence[tuple[Any, ...]]) -> tuple[str, ...]:
    """Settings that vary within a group; the provider only where the runtime does not tell it."""
    apart = [name for name in OWN if _varies(rows, keys, name)]
    finer = [(*key, row["runtime"]) for key, row in zip(keys, rows, strict=True)]
    if "runtime" in apart and "provider" in apart and not _varies(rows, finer, "provider"):
        apart.remove("provider")
    return tuple(apart)


def _varies(rows: Sequence[Row], keys: Iterable[tuple[Any, ...]], name: str) -> bool:
    seen: dict[tuple[Any, ...], Any] = {}
    values = (
        (key, read_setting(row, name)) for key, row in zip(keys, rows, strict=True) if _tells(row, name)
    )
    return any(seen.setdefault(key, value) != value for key, value in values)


def _tells(row: Row, name: str) -> bool:
    """Whether a row says something of a setting: what a board would have chosen, it says once it has run."""
    return read_setting(row, name) is not None or (row["status"] == "ok" and name not in OPTIONS)


def _label_variants(rows: Iterable[Row]) -> dict[tuple[str, str], str]:
    """What each variant is called; equal names of different files get a piece of their id."""
    named = {(row["model"], row["variant_id"]): row["variant"] for row in rows}
    owners: dict[tuple[str, str], int] = {}
    for (model, _), label in named.items():
        owners[model, label] = owners.get((model, label), 0) + 1
    return {
        key: shorten(label) + (f" #{clean_text(key[1])[:4]}" if owners[key[0], label] > 1 else "")
        for key, label in named.items()
    }


def _make_entry(
    number: int,
    group: int,
    row: Row,
    shape: Shape | None,
    labels: Mapping[tuple[str, str], str],
    apart: Sequence[str],
) -> Entry:
    variant = labels[row["model"], row["variant_id"]]
    settings = " · ".join(
        tell_setting(name, value)
        for name in apart
        for value in [read_setting(row, name)]
        if value is not None or name == "threads"
    )
    model = row["model"]
    return Entry(number, group, row, shape, variant, shorten(settings), f"{model}\n{variant}\n{settings}")


def _make_group(key: tuple[Any, ...], varying: Sequence[str], row: Row) -> Group:
    told = dict(zip(SHARED, key, strict=True))
    words = [shorten(told["device"]) + (" (emulated)" if told["is_emulated"] else "")]
    words += [shorten(told[name]) for name in ("model", "run") if name in varying]
    words += [f"batch {told['batch']}"] if "batch" in varying else []
    scenario = told["scenario"]
    words += [clean_text(scenario)] if scenario not in (None, SINGLE_STREAM) else []
    return Group(title=" · ".join(words), board=shorten(row["board"]), **told)
