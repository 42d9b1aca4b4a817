"""What an external meter tells: lines of seconds and watts, or one answer with the watts in it."""

import json
import math
import re
from typing import Any, List, NamedTuple, Optional, Pattern, Sequence, Tuple, TypeVar

# Characters stand spelled out: in text, \d also matches the digits of other scripts. A comma is no
# separator: "12,5" may be twelve and a half.
_NUMBER = r"[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})(?:[eE][+-]?[0-9]{1,2})?"
_LINE = re.compile(r"[ \t]*(?P<seconds>{0})[ \t]+(?P<watts>{0})[ \t]*\Z".format(_NUMBER))
_WHOLE_NUMBER = re.compile(r"[ \t]*({})[ \t]*\Z".format(_NUMBER))
# No board that is measured here draws as much: such a number is in other units, or garbage.
_ABSURD_W = 1e4

MOST_DELAY_S = 1.0
"""What may pass between a value and its arrival; a clock that wanders farther is not a clock of seconds."""

_MOST_DRIFT = 0.02


class Reading(NamedTuple):
    """One line: the meter's own seconds, None where it tells none, and watts."""

    seconds: Optional[float]
    watts: float


class Arrival(NamedTuple):
    """A value as it came: monotonic seconds here, the meter's own, and watts; None where it told none."""

    at: float
    seconds: Optional[float]
    watts: Optional[float]


T = TypeVar("T")
Samples = List[Tuple[float, Optional[float]]]


def compile_pattern(pattern: Optional[str]) -> Pattern[str]:
    """The pattern of a meter's lines; without one, `seconds watts`. Raises ValueError where it is no use."""
    if pattern is None:
        return _LINE
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError("the pattern is no regular expression: {}".format(error)) from error
    if "watts" not in compiled.groupindex:
        raise ValueError("the pattern has no group (?P<watts>…)")
    return compiled


def parse_meter_line(line: str, pattern: Pattern[str]) -> Optional[Reading]:
    """What a line says, None where it says nothing that is certain."""
    match = pattern.match(line) if pattern is _LINE else pattern.search(line)
    if match is None:
        return None
    groups = match.groupdict()
    watts = _check_watts(_read_number(groups["watts"]))
    return None if watts is None else Reading(_read_number(groups.get("seconds")), watts)


def parse_meter_answer(text: str, key: Optional[str] = None) -> Optional[float]:
    """The watts in an answer: a number alone, or in JSON by a path such as `em1:0.act_power`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # the second for lists in lists in lists, without end
        return None
    for step in key.split(".") if key else ():
        found = _take(found, step)
    if isinstance(found, str):
        return _check_watts(_read_number(found))
    is_number = isinstance(found, (int, float)) and not isinstance(found, bool)
    return _check_watts(found) if is_number else None


def _take(found: Any, step: str) -> Any:
    if isinstance(found, list):
        return found[int(step)] if step.isdigit() and int(step) < len(found) else None
    return found.get(step) if isinstance(found, dict) else None


def _read_number(word: Optional[str]) -> Optional[float]:
    match = _WHOLE_NUMBER.match(word or "")
    return float(match.group(1)) if match else None


def _check_watts(watts: Optional[float]) -> Optional[float]:
    # Compared before it becomes a float: a whole number of a thousand digits has none.
    return float(watts) if watts is not None and abs(watts) < _ABSURD_W else None


def pair_neighbours(values: Sequence[T]) -> List[Tuple[T, T]]:
    """Each value with the one after it."""
    return list(zip(values, values[1:]))  # noqa: B905, RUF007 (strict= needs 3.10, and so does pairwise)


def place_samples(arrivals: Sequence[Arrival]) -> Samples:
    """Seconds on the monotonic clock of this board, and watts (None for a value that failed to come).

    The meter's own clock tells how far apart its values are, since a line may wait on its way; the fastest
    line tells where that clock stands. Where it jumps, drifts or counts no seconds, the arrival counts.
    """
    own = [one.seconds for one in arrivals if one.seconds is not None]
    if len(own) < 3 or len(own) < len(arrivals) or not _is_clock(arrivals, own):
        return [(one.at, one.watts) for one in arrivals]
    offset = min(one.at - seconds for one, seconds in zip(arrivals, own))  # noqa: B905 (strict= needs 3.10)
    return [(seconds + offset, one.watts) for one, seconds in zip(arrivals, own)]  # noqa: B905


def _is_clock(arrivals: Sequence[Arrival], own: Sequence[float]) -> bool:
    delays = [one.at - seconds for one, seconds in zip(arrivals, own)]  # noqa: B905
    if not all(math.isfinite(delay) for delay in delays):
        return False
    rises = all(before < after for before, after in pair_neighbours(own))
    passed = arrivals[-1].at - arrivals[0].at
    drift = abs(delays[-1] - delays[0])
    return rises and max(delays) - min(delays) <= MOST_DELAY_S and drift <= _MOST_DRIFT * passed + 0.05
