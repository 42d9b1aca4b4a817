"""What cleaning may remove, as people say it, and what it came to."""

from __future__ import annotations

import re

from host.specs.durations import parse_duration
from host.specs.record import Record

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]i?B|B)?", re.IGNORECASE)
_STEPS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_DAYS = re.compile(r"(\d+(?:\.\d+)?)\s*([dw])")
_DAY_S = 86_400.0


class Terms(Record):
    """How much may stay, or after how long without use something goes: one of both.

    `takes_abandoned` gives up runs that were never finished or fetched; `is_dry` only tells.
    """

    keep_bytes: int | None = None
    older_s: float | None = None
    takes_abandoned: bool = False
    is_dry: bool = False


class Removed(Record):
    """One thing that is gone; `idle_s` is how long nobody had used it, by the clock of where it was."""

    kind: str
    name: str
    bytes: int
    idle_s: float


class Cleaned(Record):
    """What cleaning one place came to, or would come to; without a device it is this machine's cache.

    `removed` names the first two thousand, `removed_count` counts all of them. `needed_bytes` is what of
    the kept runs still need; `unfetched_runs` are on the board, and their results not here.
    """

    device: str | None
    is_dry: bool
    removed: tuple[Removed, ...]
    removed_count: int
    freed_bytes: int
    kept_bytes: int
    needed_bytes: int
    free_bytes: int
    unfetched_runs: tuple[str, ...] = ()


def parse_size(text: str) -> int:
    """The bytes of `2GB`, `500MB`, `1.5GiB` or `0`. Raises ValueError that says what was expected."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or (found[2] is None and float(found[1]) != 0):
        raise ValueError(f"expected a size with its unit, such as 2GB, 500MB or 1.5GiB, found {text!r}")
    unit = (found[2] or "B").lower()
    step = 1024 if "i" in unit else 1000
    return round(float(found[1]) * float(step) ** _STEPS[unit.rstrip("ib")])


def parse_age(text: str) -> float:
    """The seconds of `30d`, `2w` or `12h`. Raises ValueError that says what was expected."""
    found = _DAYS.fullmatch(text.strip().lower())
    if found is not None:
        return float(found[1]) * _DAY_S * (7 if found[2] == "w" else 1)
    try:
        return parse_duration(text)
    except ValueError:
        raise ValueError(f"expected a time with its unit, such as 30d, 2w or 12h, found {text!r}") from None
