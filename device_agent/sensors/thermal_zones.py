"""The thermal zones of a board, from /sys/class/thermal: names, temperatures and trip points."""

import re
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from device_agent.sensors.tree import list_names, parse_number, read_patiently, read_text

# The class is a folder of links to the second; where only that is visible (a container), it does as well.
_FOLDERS = ("sys/class/thermal", "sys/devices/virtual/thermal")
_ZONE = re.compile(r"^thermal_zone(\d+)$")
_TRIP = re.compile(r"^trip_point_(\d{1,3})_temp$")
_PLAUSIBLE_C = (-40.0, 150.0)  # a sleeping sensor of a Jetson says -256
# Kernels of some vendors print whole degrees: no sensor that is alive says 0.045 °C. Exactly 0 is a dead one.
_DEGREES_NOT_MILLIDEGREES = 200

# PMIC-Die of a Jetson is a constant (100 or 50 °C), thermal-fan-est a mean over the past minutes.
_NO_SENSOR = re.compile(r"pmic|fan-est", re.IGNORECASE)
_OF_SOMETHING_ELSE = re.compile(r"wifi|^bat|battery|charger|nvme|modem|skin", re.IGNORECASE)
# cpu-thermal (Raspberry Pi, Armbian, Orin), CPU-therm and BCPU-therm (Jetson), TCPU (Intel), soc-thermal and
# bigcore0-thermal (Rockchip), tj-thermal (Jetson: the hottest of all); package-thermal (RK3588).
_OF_PROCESSOR = re.compile(r"cpu|core\d*-thermal|^soc|^tj|^package-thermal", re.IGNORECASE)
_OF_X86_PACKAGE = "x86_pkg_temp"


class Trip(NamedTuple):
    """A temperature at which the kernel does something: `passive` slows down, `critical` switches off."""

    kind: str
    temperature_c: float


class Zone(NamedTuple):
    """A zone; without a temperature while its sensor sleeps, or where it is a constant."""

    name: str
    temperature_c: Optional[float]
    trips: Tuple[Trip, ...]


def read_zones(root: str) -> List[Zone]:
    """All zones in the order of their numbers. Two may have one name, as acpitz on many laptops."""
    return [
        Zone(name, read_degrees(root, folder + "/temp"), _read_trips(root, folder))
        for name, folder in find_zones(root)
    ]


def find_zones(root: str) -> List[Tuple[str, str]]:
    """Names and folders of the zones: no sensor is read for it."""
    zones = [(read_text(root, folder + "/type"), folder) for folder in _find_folders(root)]
    return [(name, folder) for name, folder in zones if name]


def _find_folders(root: str) -> List[str]:
    found: Dict[str, str] = {}
    for folder in _FOLDERS:
        for name in list_names(root, folder):
            if _ZONE.match(name):
                found.setdefault(name, "{}/{}".format(folder, name))
    return [found[name] for name in sorted(found, key=lambda name: int(name[len("thermal_zone") :]))]


def read_degrees(root: str, path: str) -> Optional[float]:
    """A file of millidegrees in °C; None for what no board that runs can have."""
    number = parse_number(read_patiently(root, path))
    if number is None or abs(number) < _DEGREES_NOT_MILLIDEGREES:
        return None
    return number / 1000.0 if _PLAUSIBLE_C[0] < number / 1000.0 < _PLAUSIBLE_C[1] else None


def _read_trips(root: str, folder: str) -> Tuple[Trip, ...]:
    """Trip points that are set: unset ones are at -274 °C, 0 °C or beyond all bounds."""
    found = []
    for file_name in list_names(root, folder):
        match = _TRIP.match(file_name)
        if match:
            kind = read_text(root, "{}/trip_point_{}_type".format(folder, match.group(1)))
            degrees = read_degrees(root, "{}/{}".format(folder, file_name))
            if kind and degrees:
                found.append((int(match.group(1)), Trip(kind, degrees)))
    return tuple(trip for _, trip in sorted(found))


def is_constant(name: str) -> bool:
    """Whether a zone shows what is no measurement of this moment."""
    return bool(_NO_SENSOR.search(name))


def pick_processor_zones(names: Sequence[str]) -> List[str]:
    """Those of the zones that tell of the processor, the packages of x86 before what firmware says of it."""
    if _OF_X86_PACKAGE in names:
        return [_OF_X86_PACKAGE]
    return sorted({name for name in names if _OF_PROCESSOR.search(name) and not is_constant(name)})


def pick_other_zones(names: Sequence[str]) -> List[str]:
    """Those that stand for the board where nothing tells of its processor."""
    left_out = (_NO_SENSOR, _OF_SOMETHING_ELSE)
    return sorted({name for name in names if not any(pattern.search(name) for pattern in left_out)})
