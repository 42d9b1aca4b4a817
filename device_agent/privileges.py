"""What the agent would see if it ran as root."""

import os
from typing import Any, Dict, List, Optional

from device_agent.sensors.rapl import find_packages, read_counters
from device_agent.sensors.tree import list_names, read_text

_CPU = "sys/devices/system/cpu"
_VIDEOCORE = ("dev/vcio", "dev/vchiq")


def is_root() -> bool:
    return os.geteuid() == 0


def list_root_only(root: str, jetson: Optional[Dict[str, Any]]) -> List[str]:
    """What this board would tell root and does not tell us, one sentence each; empty for root.

    `jetson` is what a Jetson told of `nvpmodel` and `jetson_clocks`, None on other boards.
    """
    if is_root():
        return []
    found = [_find_rapl(root), _find_clock(root), _find_firmware(root)]
    found += [] if jetson is None else _list_jetson(jetson)
    return [sentence for sentence in found if sentence]


def _list_jetson(told: Dict[str, Any]) -> List[Optional[str]]:
    clocks, memory = told["jetson_clocks"]["pinned"], told["jetson_clocks"]["emc_mhz"]
    return [
        "clocks: whether jetson_clocks holds them all (`jetson_clocks --show`)" if clocks is None else None,
        "memory: its clock (EMC) in tegrastats and jetson_clocks" if memory is None else None,
        "power mode: `nvpmodel -q`" if told["nvpmodel"] is None else None,
    ]


def _find_rapl(root: str) -> Optional[str]:
    packages = find_packages(root)
    if not packages or read_counters(root, packages) is not None:
        return None
    return "power: energy_uj of RAPL may be read by root only"


def _find_clock(root: str) -> Optional[str]:
    for name in list_names(root, _CPU):
        path = "{}/{}/cpufreq/cpuinfo_cur_freq".format(_CPU, name)
        if os.path.exists(os.path.join(root, path)):
            refused = read_text(root, path) is None
            return "clocks: those that the cores really run at (cpuinfo_cur_freq)" if refused else None
    return None


def _find_firmware(root: str) -> Optional[str]:
    """The devices by which vcgencmd asks the firmware of a Raspberry Pi."""
    paths = [os.path.join(root, name) for name in _VIDEOCORE]
    there = [path for path in paths if os.path.exists(path)]
    if not there or any(os.access(path, os.R_OK | os.W_OK) for path in there):
        return None
    return "throttling and power: vcgencmd (the group `video` is enough: `sudo usermod -aG video $USER`)"
