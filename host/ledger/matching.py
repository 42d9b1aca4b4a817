"""Which measurement of one side belongs to which of the other: pairs, and what has no counterpart. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from host.ledger.rows import read_setting
from host.specs.profile import OPTIONS

Row = Mapping[str, Any]
Subject = Literal["run", "variant", "device"]
"""What the two sides differ in, and so need not share."""

SETTINGS = ("provider", "threads", *OPTIONS)
"""What may differ between two rows that are paired all the same, where no other counterpart is there."""


STRICT = ("threads", *OPTIONS)
"""What may not differ where one of two is judged by the other."""

WHAT = ("model", "device", "variant", "batch", "scenario")


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
    what = [name for name in WHAT if name != subject]
    matching = _Matching(first, second)
    for names in ((*what, "runtime", *SETTINGS), (*what, "runtime"), tuple(what)):
        matching.pair(names)
    return matching.end()


def match_strictly(first: Sequence[Row], second: Sequence[Row]) -> Matched:
    """Pairs of rows of two runs of which one may be judged by the other: the same settings on both sides.

    Only the provider may differ, where no other counterpart is there: a runtime that falls back is to be
    found. What failed tells only the settings that it was asked for; the others it may share.
    """
    matching = _Matching(first, second)
    for names in ((*WHAT, "runtime", *SETTINGS), (*WHAT, "runtime", *STRICT)):
        matching.pair(names)
    matching.pair((*WHAT, "runtime"), _may_share)
    return matching.end()


def _may_share(first: Row, second: Row) -> bool:
    """Whether one of two rows failed, and nothing that both tell of their settings differs."""
    if first["status"] == second["status"] == "ok":
        return False
    values = ((_read(first, name), _read(second, name)) for name in STRICT)
    return all(one == other or None in (one, other) for one, other in values)


class _Matching:
    """Pairs that are found pass by pass; what has found its counterpart is out of the later ones."""

    def __init__(self, first: Sequence[Row], second: Sequence[Row]) -> None:
        self._first, self._second = first, second
        self._left, self._right = list(range(len(first))), list(range(len(second)))
        self._partners: dict[int, int] = {}

    def pair(self, names: Sequence[str], fits: Callable[[Row, Row], bool] | None = None) -> None:
        """Pair those that are the only counterparts of each other: the same in all names, and fitting."""
        theirs = _group(self._second, self._right, names)
        candidates = {
            at: [
                other
                for other in theirs.get(key, [])
                if fits is None or fits(self._first[at], self._second[other])
            ]
            for key, places in _group(self._first, self._left, names).items()
            for at in places
        }
        counts = Counter(other for others in candidates.values() for other in others)
        found = {
            at: others[0] for at, others in candidates.items() if len(others) == 1 and counts[others[0]] == 1
        }
        self._partners |= found
        self._left = [at for at in self._left if at not in found]
        taken = set(found.values())
        self._right = [at for at in self._right if at not in taken]

    def end(self) -> Matched:
        first, second, partners = self._first, self._second, self._partners
        return Matched(
            pairs=tuple((first[at], second[partners[at]]) for at in sorted(partners)),
            only_first=tuple(first[at] for at in self._left),
            only_second=tuple(second[at] for at in self._right),
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
