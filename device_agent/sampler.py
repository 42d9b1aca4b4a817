"""The process that reads a source of power, apart from the run and from what is measured.

It keeps what it reads in its memory, writes nothing while others measure, and tells it all when its standard
input ends: first one line of JSON (`ready`, or `failed` with a reason), at last another one with the number
of values, and the values. Its moments are those of the monotonic clock, which all processes share.
"""

import json
import math
import os
import select
import sys
import time
from array import array
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Union

from device_agent.line_source import LineSource, SourceFailed
from device_agent.polled_source import PolledSource

Fields = Dict[str, Any]
Source = Union[LineSource, PolledSource]

FIRST_VALUE_S = 5.0
"""A source that gives no value for so long has failed."""

MOST_VALUES = 2000000
_LOOKING_S = 0.1
_WIDTH = 3  # moment, the source's own seconds, value; NaN for None


class Opened(NamedTuple):
    """A source, and the rails that it sums, where only its first value tells them."""

    source: Source
    find_rails: Callable[[], List[str]] = list


def serve(text: str) -> int:
    """Sample the source that the JSON describes until standard input ends; the exit code."""
    spec = json.loads(text)
    if spec.get("core") is not None:
        os.sched_setaffinity(0, [spec["core"]])
    try:
        opened = open_source(spec)
    except SourceFailed as failure:
        _say({"failed": str(failure)})
        return 0
    try:
        _sample(opened)
    finally:
        opened.source.close()
    return 0


def open_source(spec: Fields) -> Opened:
    """The source of a description, as `device_agent.power` writes it. Raises SourceFailed."""
    return {
        "ina": _open_ina,
        "tegrastats": _open_tegrastats,
        "pmic": _open_pmic,
        "rapl": _open_rapl,
        "meter": _open_meter,
    }[spec["kind"]](spec)


def _poll(ask: Callable[[], Optional[float]], best_s: float, spec: Fields) -> PolledSource:
    return PolledSource(ask, best_s, has_own_core=spec.get("core") is not None)


def _open_ina(spec: Fields) -> Opened:
    from device_agent.sensors.ina import Rail, read_rails, sum_rails

    rails = [Rail(*fields) for fields in spec["rails"]]

    def read_w() -> Optional[float]:
        milliwatts = sum_rails(read_rails(spec["root"], rails), spec["total"])
        return None if milliwatts is None else milliwatts / 1e3

    return Opened(_poll(read_w, spec["best_s"], spec))


def _open_tegrastats(spec: Fields) -> Opened:
    from device_agent.tegrastats_source import open_tegrastats

    source, lines = open_tegrastats(spec["program"], spec.get("total"))
    return Opened(source, lambda: list(lines.total))


def _open_pmic(spec: Fields) -> Opened:
    from device_agent.firmware import ask_power_w

    return Opened(_poll(ask_power_w, spec["best_s"], spec))


def _open_rapl(spec: Fields) -> Opened:
    """A counter: its values are joules since it was opened."""
    from device_agent.sensors.rapl import Package, read_counters, sum_joules

    packages = [Package(*fields) for fields in spec["packages"]]
    last: List[Any] = [None, 0.0]

    def read_joules() -> Optional[float]:
        counters = read_counters(spec["root"], packages)
        if counters is None:
            return None
        passed = 0.0 if last[0] is None else sum_joules(packages, last[0], counters)
        if passed is None:
            return None
        last[:] = counters, last[1] + passed
        return float(last[1])

    return Opened(_poll(read_joules, spec["best_s"], spec))


def _open_meter(spec: Fields) -> Opened:
    from device_agent.meter import HTTP_PERIOD_S, make_asker, open_lines

    meter = spec["meter"]
    if meter.get("url"):
        return Opened(_poll(make_asker(meter), meter.get("period_s") or HTTP_PERIOD_S, spec))
    return Opened(open_lines(meter))


def _sample(opened: Opened) -> None:
    """Take values until standard input ends, then tell them."""
    source, values, is_ready = opened.source, array("d"), False
    began, reason = time.monotonic(), None
    while reason is None:
        if not is_ready and time.monotonic() - began > FIRST_VALUE_S:
            reason = "no value within {:.0f} s".format(FIRST_VALUE_S)
            break
        wait = source.find_wait()
        if not is_ready:
            wait = _LOOKING_S if wait is None else min(wait, _LOOKING_S)
        ready = select.select([0] + source.descriptors, [], [], wait)[0]
        if 0 in ready:
            break
        for arrival in source.take(ready):
            values.extend(math.nan if one is None else one for one in arrival)
            if not is_ready and arrival.watts is not None:
                is_ready = True
                _say({"ready": True, "rails": opened.find_rails()})
        reason = source.reason if len(values) < _WIDTH * MOST_VALUES else "too many values"
    if not is_ready:
        _say({"failed": _explain(source, reason or "stopped")})
        return
    _wait_for_end()
    _tell(values, reason)


def _explain(source: Source, reason: str) -> str:
    return "{}; it says {!r}".format(reason, source.odd_line) if source.odd_line else reason


def _wait_for_end() -> None:
    while os.read(0, 1):
        continue


def _say(fields: Fields) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def _tell(values: "array[float]", reason: Optional[str]) -> None:
    _say({"values": len(values) // _WIDTH, "reason": reason})
    sys.stdout.buffer.write(values.tobytes())
    sys.stdout.flush()
