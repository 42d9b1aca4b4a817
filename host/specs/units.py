"""Limits as people write them, each with its unit: `33ms`, `5W`, `64MB`, `5%`. A bare number is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

TIMES_MS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1000.0}
SIZES_BYTES = {
    "B": 1.0,
    **{f"{letter}B": 1000.0 ** (at + 1) for at, letter in enumerate("kMG")},
    **{f"{letter}iB": 1024.0 ** (at + 1) for at, letter in enumerate("KMG")},
}
POWERS_W = {"uW": 1e-6, "mW": 1e-3, "W": 1.0}
ENERGIES_MJ = {"uJ": 1e-3, "mJ": 1.0, "J": 1000.0}

_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_QUANTITY = re.compile(rf"\s*({_NUMBER})\s*([^\s\d]*)\s*")


def parse_time_ms(text: str) -> float:
    """Milliseconds. Raises ValueError that says what was expected."""
    return _parse_quantity(text, TIMES_MS, ("ms", "s"))


def parse_bytes(text: str) -> float:
    """Bytes: `64MB` are 64,000,000, `64MiB` 67,108,864. Raises ValueError that says what was expected."""
    return _parse_quantity(text, SIZES_BYTES, ("MB", "MiB"))


def parse_power_w(text: str) -> float:
    """Watts. Raises ValueError that says what was expected."""
    return _parse_quantity(text, POWERS_W, ("W", "mW"))


def parse_energy_mj(text: str) -> float:
    """Millijoules. Raises ValueError that says what was expected."""
    return _parse_quantity(text, ENERGIES_MJ, ("mJ", "J"))


def parse_percent(text: str) -> float:
    """A share: 0.05 for `5%`. Raises ValueError for a bare number, with both that it could mean."""
    number, unit = _split(text, "5%")
    if unit == "":
        raise ValueError(f"{text!r} has no unit: it may mean {number:g}% or {100 * number:g}%; write which")
    if unit != "%":
        raise ValueError(f"expected a percentage such as 5%, found {text!r}")
    if number < 0:
        raise ValueError(f"{text!r} is below zero, and would ask for an improvement; write 0% or more")
    return number / 100


def parse_points(text: str) -> float:
    """Percentage points of accuracy: 0.5 is from 90.0 % to 89.5 %. Raises ValueError for a percentage."""
    number, unit = _split(text, "0.5")
    if unit == "%":
        raise ValueError(
            f"{text!r} may mean {number:g} points, or {number:g} % of the accuracy; it is told in points: "
            f"write {number:g}"
        )
    if unit not in ("", "pp", "points"):
        raise ValueError(f"expected percentage points such as 0.5, found {text!r}")
    if not 0 <= number <= 100:
        raise ValueError(f"expected 0 to 100 percentage points, found {text!r}")
    return number


def parse_accuracy(text: str) -> float:
    """A share: `0.9` or `90%`. Raises ValueError for what no accuracy can be."""
    number, unit = _split(text, "0.9 or 90%")
    if unit not in ("", "%"):
        raise ValueError(f"expected an accuracy such as 0.9 or 90%, found {text!r}")
    share = number / 100 if unit == "%" else number
    if not 0 <= share <= 1:
        meant = f"; did you mean {number:g}%?" if unit == "" and 10 <= number <= 100 else ""
        raise ValueError(f"no accuracy is {text.strip()}: it lies between 0 and 1 (or 0% and 100%){meant}")
    return share


def _parse_quantity(text: str, units: Mapping[str, float], offered: tuple[str, str]) -> float:
    number, unit = _split(text, f"33{offered[0]}")
    if unit == "":
        first, second = (f"{number:g}{name}" for name in offered)
        raise ValueError(f"{text!r} has no unit: it may mean {first} or {second}; write which")
    if unit not in units:
        close = [name for name in units if name.lower() == unit.lower()]
        meant = f"; did you mean {' or '.join(f'{number:g}{name}' for name in close)}?" if close else ""
        raise ValueError(f"{text!r}: the unit {unit!r} is none of {', '.join(units)}{meant}")
    if number <= 0:
        raise ValueError(f"nothing can keep {text.strip()}: a limit lies above zero")
    return number * units[unit]


def _split(text: str, example: str) -> tuple[float, str]:
    found = _QUANTITY.fullmatch(text)
    if found is None or not math.isfinite(float(found[1])):
        raise ValueError(f"expected a number such as {example}, found {text!r}")
    return float(found[1]), found[2]
