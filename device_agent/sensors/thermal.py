"""The temperature of the processor, and whether the board slows itself down."""

import re
from typing import Iterator, List, NamedTuple, Optional, Tuple

from device_agent.sensors.thermal_zones import (
    find_zones,
    pick_other_zones,
    pick_processor_zones,
    read_degrees,
)
from device_agent.sensors.tree import list_names, read_number, read_text

_HWMON = "sys/class/hwmon"
# coretemp and k10temp of PCs; the others where a board has no thermal zone for its sensor.
_HWMON_NAMES = ("coretemp", "k10temp", "k8temp", "zenpower", "cpu_thermal", "soc_thermal")
_HWMON_INPUT = re.compile(r"^temp(\d{1,3})_input$")

# Raspberry Pi, raspberrypi/documentation "vcgencmd get_throttled": under-voltage, frequency capped,
# throttled, soft temperature limit; 16 higher the same since the board was started.
NOW_BITS = 0xF
SINCE_BOOT_BITS = 0xF0000
_HEXADECIMAL = re.compile(r"^[0-9a-fA-F]{1,8}$")


def read_temperature(root: str) -> Optional[float]:
    """The hottest reading of the processor in °C; of any other sensor of the board where it has none."""
    zones = find_zones(root)
    names = [name for name, _ in zones]
    found = _read_zones(root, zones, pick_processor_zones(names)) or list(_read_hwmon(root))
    found = found or _read_zones(root, zones, pick_other_zones(names))
    return max(found) if found else None


def _read_zones(root: str, zones: List[Tuple[str, str]], names: List[str]) -> List[float]:
    """The degrees of the named zones only: one whose device sleeps makes the reader wait."""
    read = [read_degrees(root, folder + "/temp") for name, folder in zones if name in names]
    return [degrees for degrees in read if degrees is not None]


def _read_hwmon(root: str) -> Iterator[float]:
    for device in list_names(root, _HWMON):
        folder = "{}/{}".format(_HWMON, device)
        if read_text(root, folder + "/name") in _HWMON_NAMES:
            yield from _read_chip(root, folder)


def _read_chip(root: str, folder: str) -> List[float]:
    """All inputs of a chip. On some Ryzen Tctl is 10 to 27 °C above Tdie, which is the temperature."""
    found = {}
    for name in list_names(root, folder):
        match = _HWMON_INPUT.match(name)
        degrees = read_degrees(root, "{}/{}".format(folder, name)) if match else None
        if match and degrees is not None:
            label = read_text(root, "{}/temp{}_label".format(folder, match.group(1)))
            found[label or name] = degrees
    if "Tdie" in found:
        found.pop("Tctl", None)
    return list(found.values())


class Throttling(NamedTuple):
    """What tells of throttling: events counted by an x86 processor, or the bits of a Raspberry Pi."""

    events: Optional[int]
    bits: Optional[int]

    @property
    def is_throttled_now(self) -> Optional[bool]:
        """None where the board cannot tell: a counter says only that it was."""
        return None if self.bits is None else bool(self.bits & NOW_BITS)


def read_throttling(root: str) -> Throttling:
    """Both sources; a missing one is None."""
    return Throttling(_read_count(root), _read_bits(root))


def _read_count(root: str) -> Optional[int]:
    """Throttle events of all cores and packages since boot (Intel, kernel 2.6.30 and later)."""
    folder = "sys/devices/system/cpu"
    counts = [
        read_number(root, "{}/{}/thermal_throttle/{}".format(folder, core, name))
        for core in list_names(root, folder)
        if re.match(r"cpu\d+$", core)
        for name in ("core_throttle_count", "package_throttle_count")
    ]
    told = [count for count in counts if count is not None]
    return sum(told) if told else None


def _read_bits(root: str) -> Optional[int]:
    """The firmware's bits, in hexadecimal without a prefix: soc/soc:firmware up to Raspberry Pi 4
    (Raspberry Pi OS, kernel 4.14 and later), soc@107c000000/soc@107c000000:firmware on the 5."""
    platform = "sys/devices/platform"
    for soc in list_names(root, platform):
        if soc.startswith("soc"):
            text = read_text(root, "{0}/{1}/{1}:firmware/get_throttled".format(platform, soc))
            if text is not None:
                return int(text, 16) if _HEXADECIMAL.match(text) else None
    return None
