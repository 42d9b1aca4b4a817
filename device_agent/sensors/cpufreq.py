"""Clocks and governors of the cores, from /sys/devices/system/cpu/cpu*/cpufreq (x86, Pi, Jetson)."""

from typing import List, Optional, Sequence

from device_agent.sensors.tree import read_number, read_text

_FOLDER = "sys/devices/system/cpu/cpu{}/cpufreq/{}"


def read_frequencies(root: str, cores: Sequence[int]) -> Optional[List[float]]:
    """The current clock of each core in MHz; None where none is told, as in most virtual machines."""
    found = [read_number(root, _FOLDER.format(core, "scaling_cur_freq")) for core in cores]
    told = [kilohertz / 1000.0 for kilohertz in found if kilohertz]
    return told or None


def read_governor(root: str, cores: Sequence[int]) -> Optional[str]:
    """The governor of the cores, joined by commas where they differ."""
    found = {read_text(root, _FOLDER.format(core, "scaling_governor")) for core in cores}
    return ",".join(sorted(name for name in found if name)) or None
