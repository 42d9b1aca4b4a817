"""Energy of the processor packages of an x86 machine, from /sys/class/powercap (RAPL; Intel, and AMD since
Linux 5.11)."""

import re
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from device_agent.sensors.tree import list_names, read_number, read_text

# The class is a flat folder of links; a zone stands, too, in the folder of what controls it.
_FOLDERS = ("sys/class/powercap", "sys/devices/virtual/powercap")
# intel-rapl:N are packages (and psys, which contains them); intel-rapl:N:M are parts of a package, but for
# `dram` of servers, which is outside of it and is not summed either: most machines have none, and figures
# must mean the same everywhere.
_ZONE = re.compile(r"^intel-rapl(?:-mmio)?(?::\d{1,4}){1,3}$")
_TOP = re.compile(r"^(intel-rapl(?:-mmio)?):\d{1,4}$")
_PACKAGE = re.compile(r"^package-\d{1,4}(?:-die-\d{1,4})?$")
# intel-rapl-mmio:N is a package of intel-rapl by another road: it counts where that is the only one.
_CONTROLS = ("intel-rapl", "intel-rapl-mmio")

MAX_PACKAGE_W = 1000.0
"""More than any package draws: so long as less than its range divided by this has passed, a counter that
fell has wrapped once, and one that rose has not wrapped."""


class Package(NamedTuple):
    """A counter in microjoules that starts again after `wraps_at_uj`; 0 where that is not told."""

    path: str
    wraps_at_uj: int


def list_zones(root: str) -> Dict[str, str]:
    """The names of all RAPL zones by their folder, such as `intel-rapl:0:1` and `uncore`."""
    found: Dict[str, str] = {}
    for zone, folder in _find_zones(root):
        name = read_text(root, folder + "/name")
        if name:
            found.setdefault(zone, name)
    return found


def _find_zones(root: str) -> Iterator[Tuple[str, str]]:
    """Zones and their folders: in the class or below its control type, and parts inside their package."""
    for top in _FOLDERS:
        folders = [top] + ["{}/{}".format(top, control) for control in _CONTROLS]
        for folder in folders:
            for zone in list_names(root, folder):
                if _ZONE.match(zone):
                    yield zone, "{}/{}".format(folder, zone)
                    for part in list_names(root, "{}/{}".format(folder, zone)):
                        if _ZONE.match(part):
                            yield part, "{}/{}/{}".format(folder, zone, part)


def find_packages(root: str) -> List[Package]:
    """The packages of this machine, readable or not; empty where there is no RAPL."""
    found: Dict[str, Dict[str, Package]] = {control: {} for control in _CONTROLS}
    for zone, folder in _find_zones(root):
        match, name = _TOP.match(zone), read_text(root, folder + "/name") or ""
        if match and _PACKAGE.match(name):
            limit = read_number(root, folder + "/max_energy_range_uj")
            package = Package(folder + "/energy_uj", max(limit or 0, 0))
            found[match.group(1)].setdefault(zone, package)
    return next((list(found[control].values()) for control in _CONTROLS if found[control]), [])


def read_counters(root: str, packages: List[Package]) -> Optional[List[int]]:
    """The counters of all packages; None where one cannot be read (since 2020 only root may), or says what
    it cannot reach."""
    counters = [_read_counter(root, package) for package in packages]
    told = [counter for counter in counters if counter is not None]
    return told if told and len(told) == len(counters) else None


def _read_counter(root: str, package: Package) -> Optional[int]:
    counter = read_number(root, package.path)
    if counter is None or counter < 0 or 0 < package.wraps_at_uj < counter:
        return None
    return counter


def sum_joules(packages: List[Package], before: Sequence[float], after: Sequence[float]) -> Optional[float]:
    """The energy between two readings no further apart than `find_longest_interval_s`.

    A counter that fell has wrapped once; None where it is not told at which value.
    """
    total = 0.0
    for package, start, end in zip(packages, before, after):  # noqa: B905 (strict= needs 3.10)
        if end < start and not package.wraps_at_uj:
            return None
        total += end - start if end >= start else end - start + package.wraps_at_uj
    return total / 1e6


def find_longest_interval_s(packages: List[Package]) -> Optional[float]:
    """How far apart two readings may be, so that no wrap between them goes unseen.

    65.5 s for the 65.5 kJ of older Xeons, 262 s for the 262 kJ of laptops; None where no range is told.
    """
    ranges = [package.wraps_at_uj for package in packages]
    return min(ranges) / 1e6 / MAX_PACKAGE_W if ranges and all(ranges) else None
