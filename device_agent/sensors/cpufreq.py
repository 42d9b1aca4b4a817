"""Clocks and governors of the cores, from /sys/devices/system/cpu/cpu*/cpufreq (x86, Pi, Jetson).

Where there is no cpufreq, as in most virtual machines, there is no clock: `cpu MHz` of /proc/cpuinfo is then
a constant that nobody measured.
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

from device_agent.sensors.tree import parse_core_list, read_number, read_text

_FOLDER = "sys/devices/system/cpu/cpu{}/cpufreq/{}"
_ABSURD_KHZ = 20000000


class Clock(NamedTuple):
    """A core's clock in MHz: what it can do, what it is allowed to do now, and what it does.

    `together` are the cores whose clock changes with this one's, itself included.
    """

    min_mhz: Optional[float]
    max_mhz: Optional[float]
    allowed_min_mhz: Optional[float]
    allowed_max_mhz: Optional[float]
    current_mhz: Optional[float]
    governor: Optional[str]
    together: Tuple[int, ...]


def read_clock(root: str, core: int) -> Clock:
    """All that cpufreq tells of a core; nothing of one that is offline.

    The limits of nvpmodel, of jetson_clocks and of a thermal governor show in what is allowed.
    """
    return Clock(
        _read_mhz(root, core, "cpuinfo_min_freq"),
        _read_mhz(root, core, "cpuinfo_max_freq"),
        _read_mhz(root, core, "scaling_min_freq"),
        _read_mhz(root, core, "scaling_max_freq"),
        _read_mhz(root, core, "scaling_cur_freq"),
        read_text(root, _FOLDER.format(core, "scaling_governor")) or None,
        tuple(parse_core_list(read_text(root, _FOLDER.format(core, "related_cpus")))),
    )


def read_frequencies(root: str, cores: Sequence[int]) -> Optional[List[float]]:
    """The clock of each core in MHz, offline cores left out; None where none is told.

    This is scaling_cur_freq: anybody may read it, and reading it disturbs no core. On x86 it is measured. On
    ARM it is what the governor asked for: that a firmware holds the clock down (Raspberry Pi) does not show
    here, but in `read_measured_frequencies`.
    """
    return _list_mhz(root, cores, "scaling_cur_freq")


def read_measured_frequencies(root: str, cores: Sequence[int]) -> Optional[List[float]]:
    """The clock that the hardware reports for each core in MHz; None unless root asks.

    This is cpuinfo_cur_freq. On Tegra the core itself is woken to count its cycles: read it before and after
    a window, not within.
    """
    return _list_mhz(root, cores, "cpuinfo_cur_freq")


def _list_mhz(root: str, cores: Sequence[int], name: str) -> Optional[List[float]]:
    found = [_read_mhz(root, core, name) for core in cores]
    return [clock for clock in found if clock is not None] or None


def _read_mhz(root: str, core: int, name: str) -> Optional[float]:
    """Some drivers say 0 or `<unknown>` for a clock that they do not know."""
    kilohertz = read_number(root, _FOLDER.format(core, name))
    return kilohertz / 1000.0 if kilohertz is not None and 0 < kilohertz < _ABSURD_KHZ else None


def read_governor(root: str, cores: Sequence[int]) -> Optional[str]:
    """The governor of the cores, joined by commas where they differ."""
    found = {read_text(root, _FOLDER.format(core, "scaling_governor")) for core in cores}
    return ",".join(sorted(name for name in found if name)) or None
