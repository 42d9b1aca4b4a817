"""Single values as the short text that a person reads; `-` for what was not measured."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from typing import Any

from host.ledger.ranking import MIB

MISSING = "-"


def clean_text(value: Any) -> str:
    """A value as one line of harmless text: no control characters, escape sequences or hidden directions."""
    if value is None:
        return MISSING
    return replace_hidden(" ".join(str(value).split()))


def replace_hidden(text: str, keep: str = "") -> str:
    """Text without characters that a terminal obeys instead of showing; `keep` names exceptions."""
    if text.isprintable():  # nearly all text, and ten times as fast
        return text
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if _is_hidden(char) and char not in keep else char for char in text
    )


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def cut_text(text: str, longest: int) -> str:
    """A text of at most so many characters; what is cut off shows as an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def format_number(value: float | None, decimals: int) -> str:
    return MISSING if value is None else f"{value:,.{decimals}f}"


def choose_decimals(values: Iterable[float | None]) -> int:
    """How many decimals give the smallest value of a column three digits; at most four."""
    smallest = min((abs(value) for value in values if value), default=1.0)
    return min(max(2 - math.floor(math.log10(smallest)), 0), 4)


def format_interval(interval: Iterable[float] | None, decimals: int) -> str:
    if interval is None:
        return MISSING
    low, high = interval
    return f"{low:,.{decimals}f}–{high:,.{decimals}f}"


def format_count(value: int | None) -> str:
    """A large count with three digits and its unit, such as `2.24 M`."""
    if value is None:
        return MISSING
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.{choose_decimals([value / size])}f} {unit}"
    return str(value)


def format_mib(size: int | None, decimals: int = 2) -> str:
    return format_number(None if size is None else size / MIB, decimals)


def choose_mib_decimals(sizes: Iterable[int | None]) -> int:
    """Two decimals for sizes in MiB, more where one is so small that these would say nothing."""
    return max(2, choose_decimals(size / MIB for size in sizes if size and size < MIB / 10))


def format_sparsity(reached: float | None, asked: float | None) -> str:
    """A share in percent; `47.9 of 50` where what was asked for is more than 0.1 point away."""
    if reached is None:
        return MISSING
    told = f"{100 * reached:.1f}"
    return f"{told} of {100 * asked:g}" if asked is not None and misses_target(reached, asked) else told


def misses_target(reached: float | None, asked: float | None) -> bool:
    """Whether a sparsity is more than 0.1 point away from the one that was asked for."""
    return reached is not None and asked is not None and abs(round(100 * (reached - asked), 6)) > 0.1


def format_accuracy(accuracy: float | None, change: float | None) -> str:
    """A fraction in percent, with its change in points where there is one: `97.2 (-0.3)`."""
    if accuracy is None:
        return MISSING
    return f"{100 * accuracy:.1f}" if change is None else f"{100 * accuracy:.1f} ({change:+.1f})"


def format_speedup(speedup: float | None) -> str:
    return MISSING if speedup is None else f"{speedup:.2f}×"


def format_flags(flags: Iterable[str]) -> str:
    return " ".join(clean_text(flag) for flag in flags) or MISSING
