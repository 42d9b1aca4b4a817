"""The ladder of sources of power: external meter, INA sensors, tegrastats, a Raspberry Pi 5's chip, RAPL."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from device_agent.firmware import ask_power_w
from device_agent.meter import name_meter
from device_agent.sampling import SamplerFailed, probe
from device_agent.sensors.ina import find_rails, find_total, read_rails, sum_rails
from device_agent.sensors.rapl import find_packages, read_counters
from device_agent.sensors.tree import read_number
from device_agent.tegrastats_source import find_tegrastats

Fields = Dict[str, Any]

SETTLE_S = 0.5
METER_SETTLE_S = 2.0
INA_S, MOST_INA_S = 0.01, 0.1
PMIC_S = 0.1
RAPL_S = 0.02

# What the rails of a total are the power of (see DESIGN.md).
_SEES: Dict[Tuple[str, ...], str] = {
    ("POM_5V_IN",): "the module with what it feeds, without its carrier board",
    ("VDD_IN",): "the module without its carrier board",
    ("VIN",): "all that the carrier board's sensor feeds",
}
_SEES_RAILS = "the sum of these rails of the module, without its carrier board"


class Source(NamedTuple):
    """Where the power of this board is read.

    `spec` tells the sampling process what to read; a counter's values are joules, all others' watts. `sees`
    says what is in the figures and what is not. After a change of load the values need `settle_s` to tell
    of it. `failure` says why it cannot be read, None if it can.
    """

    name: str
    rails: Tuple[str, ...]
    spec: Fields
    sees: str
    settle_s: float = SETTLE_S
    is_counter: bool = False
    failure: Optional[str] = None


def find_source(
    root: str = "/", meter: Optional[Fields] = None, waker: Optional[int] = None
) -> Optional[Source]:
    """The meter where there is one, readable or not; else the first sensor that can be read, else None.

    Nothing takes the place of a meter that fails: its figures would be of another thing. Raises Stopped where
    `waker` becomes readable.
    """
    if meter is not None:
        return _find_meter(meter, waker)
    for find in _SENSORS:
        source = find(root, waker)
        if source is not None and source.failure is None:
            return source
    return None


def describe_sources(root: str = "/") -> List[Fields]:
    """What a probe tells of the sensors on this board: the first choice first, readable or not."""
    found = [source for source in (find(root, None) for find in _SENSORS) if source is not None]
    return [
        {"name": one.name, "readable": one.failure is None, "note": one.failure or one.sees} for one in found
    ]


def _find_meter(meter: Fields, waker: Optional[int]) -> Source:
    spec = {"kind": "meter", "meter": meter}
    sees = "all that hangs on this meter"
    source = Source(name_meter(meter), (), spec, sees, METER_SETTLE_S)
    try:
        probe(spec, waker)
    except SamplerFailed as failure:
        return source._replace(failure=str(failure))
    return source


def _find_ina(root: str, _: Optional[int]) -> Optional[Source]:
    """The rails that make up a Jetson's power; which they are is in the name."""
    rails = find_rails(root)
    total = find_total(rail.name for rail in rails)
    if total is None:
        return None
    summed = [rail for rail in rails if rail.name in total]
    is_readable = sum_rails(read_rails(root, summed), total) is not None
    intervals = [_read_interval(root, rail.voltage) for rail in summed]
    spec = {
        "kind": "ina",
        "root": root,
        "rails": [list(rail) for rail in summed],
        "total": list(total),
        "best_s": min(max(max(intervals), INA_S), MOST_INA_S),
    }
    failure = None if is_readable else "a rail of the sum gives no value"
    sees = _SEES.get(total, _SEES_RAILS)
    return Source("ina {}".format("+".join(total)), total, spec, sees, failure=failure)


def _read_interval(root: str, path: str) -> float:
    """How often a chip renews its values. Only the kernel's own driver tells (L4T since 34)."""
    milliseconds = read_number(root, path.rpartition("/")[0] + "/update_interval")
    return INA_S if not milliseconds or milliseconds < 0 else milliseconds / 1e3


def _find_tegrastats(_: str, waker: Optional[int]) -> Optional[Source]:
    program = find_tegrastats()
    if program is None:
        return None
    spec = {"kind": "tegrastats", "program": program}
    try:
        total = tuple(probe(spec, waker))
    except SamplerFailed as failure:
        return Source("tegrastats", (), spec, "", failure="no total power in its lines: {}".format(failure))
    name, sees = "tegrastats {}".format("+".join(total)), _SEES.get(total, _SEES_RAILS)
    return Source(name, total, dict(spec, total=list(total)), sees)


def _find_pmic(_: str, __: Optional[int]) -> Optional[Source]:
    """The rails of a Raspberry Pi 5 that its power chip measures."""
    if ask_power_w() is None:
        return None
    sees = "the chip's rails: without what hangs on 5 V (USB, HATs) and what its regulators lose"
    return Source("pmic", (), {"kind": "pmic", "best_s": PMIC_S}, sees)


def _find_rapl(root: str, _: Optional[int]) -> Optional[Source]:
    packages = find_packages(root)
    if not packages:
        return None
    spec = {
        "kind": "rapl",
        "root": root,
        "packages": [list(package) for package in packages],
        "best_s": RAPL_S,
    }
    is_readable = read_counters(root, packages) is not None
    failure = None if is_readable else "energy_uj may be read by root only"
    sees = "processor packages only: without memory modules, disks and what the power supply loses"
    return Source("rapl", (), spec, sees, is_counter=True, failure=failure)


_SENSORS: Tuple[Callable[[str, Optional[int]], Optional[Source]], ...] = (
    _find_ina,
    _find_tegrastats,
    _find_pmic,
    _find_rapl,
)
