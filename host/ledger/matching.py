"""Which measurement of one side belongs to which of the other: pairs, and what has no counterpart. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from host.ledger.rows import read_setting
from host.specs.profile import OPTIONS

Row = Mapping[str, Any]
Subject = Literal["run", "variant", "device"]
"""What the two sides differ in, and so need not share."""

SETTINGS = ("provider", "threads", *OPTIONS)
"""What may differ between two rows that are paired all the same, where no other counterpart is there."""


class Matched(NamedTuple):
    """The pairs in the order of the first side, and what is left over on either side."""

    pairs: tuple[tuple[Row, Row], ...]
    only_first: tuple[Row, ...]
    only_second: tuple[Row, ...]


def match_rows(first: Sequence[Row], second: Sequence[Row], subject: Subject) -> Matched:
    """Pairs of rows that are the same but for the subject.

    Rows that share all their settings are paired first. Of the others, those that are the only ones left of
    their variant, device, model, runtime, batch and scenario on both sides are paired too; then of those that
    differ in the runtime as well. What differs is for `find_unlike` to tell.
    """
    what = [name for name in ("model", "device", "variant", "batch", "scenario") if name != subject]
    left, right = list(range(len(first))), list(range(len(second)))
    partners: dict[int, int] = {}
    for names in ((*what, "runtime", *SETTINGS), (*what, "runtime"), tuple(what)):
        ours, theirs = _group(first, left, names), _group(second, right, names)
        for key, places in ours.items():
            others = theirs.get(key, [])
            if len(places) == len(others) == 1:
                partners[places[0]] = others[0]
        left = [at for at in left if at not in partners]
        taken = set(partners.values())
        right = [at for at in right if at not in taken]
    return Matched(
        pairs=tuple((first[at], second[partners[at]]) for at in sorted(partners)),
        only_first=tuple(first[at] for at in left),
        only_second=tuple(second[at] for at in right),
    )


def _group(
    rows: Sequence[Row], places: Iterable[int], names: Sequence[str]
) -> dict[tuple[Any, ...], list[int]]:
    groups: dict[tuple[Any, ...], list[int]] = {}
    for at in places:
        groups.setdefault(tuple(_read(rows[at], name) for name in names), []).append(at)
    return groups


def _read(row: Row, name: str) -> Any:
    """A setting of a row; one that no board was asked for has the plain scenario."""
    value = read_setting(row, name)
    return "single-stream" if name == "scenario" and value is None else value
