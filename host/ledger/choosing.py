"""Which rows of a result are wanted, and in which order. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from host.errors import UsageError
from host.ledger.conditions import Condition
from host.ledger.flat import Field
from host.ledger.naming import find_field, is_measured, read_field
from host.ledger.records import Figures
from host.ledger.selecting import Selection

Row = Mapping[str, Any]
MOST_NAMES = 8

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(m|min|h|d|w)")
_SECONDS = {"m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
A_MOMENT = "Write a date or a moment (2026-03-01, 2026-03-01T12:00), or how long ago: 90m, 24h, 7d, 2w."


class Choice(NamedTuple):
    """What rows must be; an empty one takes all. Of several names of one kind, any will do.

    `variants` are patterns (`int8*`). A row must have all of `flags`, and none of `without`.
    """

    devices: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    since: datetime | None = None
    conditions: tuple[Condition, ...] = ()

    @property
    def selection(self) -> Selection:
        """What of it the database can choose."""
        return Selection(
            devices=self.devices,
            models=self.models,
            variants=self.variants,
            runtimes=self.runtimes,
            precisions=self.precisions,
            statuses=self.statuses,
            since=self.since,
        )

    def names(self, row: Row) -> bool:
        """Whether a row is wanted, as far as names, flags and its time go."""
        named = zip(
            (self.devices, self.models, self.runtimes, self.precisions, self.statuses),
            ("device", "model", "runtime", "precision", "status"),
            strict=True,
        )
        return (
            all(not names or row[key] in names for names, key in named)
            and (not self.variants or any(fnmatchcase(row["variant"], glob) for glob in self.variants))
            and set(self.flags) <= set(row["flags"])
            and not set(self.without) & set(row["flags"])
            and (self.since is None or datetime.fromisoformat(row["started_at"]) >= self.since)
        )


class Sieve:
    """Rows that are wanted go through, one by one; how many did is `count`.

    `untold` counts, by columns, the measurements that fail only conditions on what was not measured.
    """

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.count = 0
        self.untold: Counter[str] = Counter()

    def sift(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The wanted ones of the rows, in their order."""
        is_open = self.choice == Choice()
        for row in (row for row in rows if is_open or self.choice.names(row)):
            failed = [one for one in self.choice.conditions if not one.keeps(row)]
            if not failed:
                self.count += 1
                yield row
            elif row["status"] == "ok" and all(read_field(row, one.field) is None for one in failed):
                self.untold.update({one.field.name for one in failed})

    def tell_untold(self) -> Iterator[str]:
        """A line for each column that was asked for and not measured."""
        for name, count in self.untold.items():
            what = "1 measurement has" if count == 1 else f"{count} measurements have"
            yield f"{what} no {name}, and {'is' if count == 1 else 'are'} left out"


class Sorting(NamedTuple):
    """A column to sort by."""

    field: Field
    is_falling: bool = False


def parse_sorting(texts: Iterable[str]) -> tuple[Sorting, ...]:
    """`p50`, `accuracy:desc`, or several between commas. Raises UsageError for what is no column."""
    found = []
    for text in (part for told in texts for part in told.split(",") if part.strip()):
        name, _, direction = text.partition(":")
        if direction.strip() not in ("", "asc", "desc"):
            raise UsageError(
                f"--sort {text!r}: {direction!r} is no direction", "Write COLUMN, or COLUMN:desc."
            )
        found.append(Sorting(find_field(name), direction.strip() == "desc"))
    return tuple(found)


def sort_rows(rows: Iterable[Row], sortings: Sequence[Sorting], limit: int | None = None) -> list[Row]:
    """The rows in order, the first `limit` of them; those without a value come last, whatever the direction.

    What boards decide is sorted apart for real and for emulated ones, the real ones first.
    """
    kept: list[Row] = []
    for row in rows:
        kept.append(row)
        if limit is not None and len(kept) >= 2 * limit + MOST_NAMES:
            kept = _sort(kept, sortings)[:limit]
    return _sort(kept, sortings)[:limit]


def _sort(rows: list[Row], sortings: Sequence[Sorting]) -> list[Row]:
    for field, is_falling in reversed(sortings):
        told = [row for row in rows if read_field(row, field) is not None]
        untold = [row for row in rows if read_field(row, field) is None]
        rows = sorted(told, key=lambda row: _order(read_field(row, field)), reverse=is_falling) + untold
    if any(is_measured(sorting.field) for sorting in sortings):
        rows.sort(key=lambda row: bool(row["is_emulated"]))
    return rows


def _order(value: Any) -> tuple[int, Any]:
    """Numbers by size, and before texts; texts by the alphabet."""
    return (0, value) if isinstance(value, int | float) else (1, str(value).casefold())


def parse_since(text: str, now: datetime | None = None) -> datetime:
    """The moment that a person means; without a zone, this machine's. Raises UsageError."""
    told = text.strip()
    found = _AGO.fullmatch(told)
    try:
        if found is not None:
            ago = timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
            return (now or datetime.now(UTC)) - ago
        return datetime.fromisoformat(told).astimezone()
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--since {text!r} is no moment", A_MOMENT) from error


def describe_none(figures: Iterable[Figures], choice: Choice) -> str:
    """Why no measurement is wanted: the first names that none of those has, or how many were looked at."""
    kinds = ("device", "model", "variant", "runtime", "precision")
    seen: dict[str, set[str]] = {kind: set() for kind in kinds}
    count = 0
    for row in figures:
        count += 1
        for kind, values in seen.items():
            values.add(str(getattr(row, kind)))
    asked = (choice.devices, choice.models, choice.variants, choice.runtimes, choice.precisions)
    for names, (kind, values) in zip(asked, seen.items(), strict=True):
        if names and not any(fnmatchcase(value, name) for name in names for value in values):
            known = ", ".join(sorted(values)[:MOST_NAMES]) + (", …" if len(values) > MOST_NAMES else "")
            return (
                f"no {kind} is called {' or '.join(names)}; there are {known}"
                if count
                else "nothing is stored"
            )
    return f"none of {count} measurements is like that"
