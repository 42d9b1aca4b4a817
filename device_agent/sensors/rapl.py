"""Energy of the processor packages of an x86 machine, from /sys/class/powercap (RAPL)."""

import re
from typing import List, NamedTuple, Optional, Sequence

from device_agent.sensors.tree import list_names, read_number, read_text

_FOLDER = "sys/class/powercap"
# intel-rapl:N are packages (and psys, which contains them); intel-rapl:N:M are parts of a package, and
# intel-rapl-mmio:N is the same package by another road. Summing more than the packages counts twice.
_ZONE = re.compile(r"^intel-rapl:\d+$")


class Package(NamedTuple):
    """A counter in microjoules that starts again after `wraps_at_uj`."""

    path: str
    wraps_at_uj: int


def find_packages(root: str) -> List[Package]:
    """The packages of this machine, readable or not; empty where there is no RAPL."""
    found = []
    for zone in list_names(root, _FOLDER):
        folder = "{}/{}".format(_FOLDER, zone)
        if _ZONE.match(zone) and (read_text(root, folder + "/name") or "").startswith("package"):
            limit = read_number(root, folder + "/max_energy_range_uj")
            found.append(Package(folder + "/energy_uj", limit or 0))
    return found


def read_counters(root: str, packages: List[Package]) -> Optional[List[int]]:
    """The counters of all packages; None where one cannot be read (since 2020 only root may)."""
    counters = [read_number(root, package.path) for package in packages]
    told = [counter for counter in counters if counter is not None]
    return told if told and len(told) == len(counters) else None


def sum_joules(packages: List[Package], before: Sequence[float], after: Sequence[float]) -> float:
    """The energy between two readings; a counter that fell has wrapped once."""
    total = 0.0
    for package, start, end in zip(packages, before, after):  # noqa: B905 (strict= needs 3.10)
        total += end - start if end >= start else end - start + package.wraps_at_uj
    return total / 1e6
