"""Times as people write them: `30m`, `90s`, `1h30m`."""

from __future__ import annotations

import re
from typing import Any

UNITS_S = {"h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(h|min|m|s)")
_WHOLE = re.compile(rf"(?:{_PART.pattern}\s*)+")
EXPECTED = "a time with its unit, such as 30m, 90s or 1h30m"


def parse_duration(text: str) -> float:
    """The seconds that a text stands for. Raises ValueError that says what was expected."""
    stripped = text.strip().lower()
    if not _WHOLE.fullmatch(stripped):
        raise ValueError(f"expected {EXPECTED}, found {text!r}")
    return sum(float(number) * UNITS_S[unit] for number, unit in _PART.findall(stripped))


def read_duration(value: Any) -> Any:
    """As `parse_duration` for a text; a number, of seconds, as it is."""
    return parse_duration(value) if isinstance(value, str) else value
