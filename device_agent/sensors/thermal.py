"""The temperature of the processor, and whether the board slows itself down."""

import re
from typing import Iterator, NamedTuple, Optional, Tuple

from device_agent.sensors.tree import list_names, read_number, read_text

_ZONES = "sys/class/thermal"
_HWMON = "sys/class/hwmon"
# cpu-thermal (Raspberry Pi, Armbian), CPU-therm and tj-thermal (Jetson), x86_pkg_temp and TCPU (Intel),
# soc-thermal (Rockchip).
_OF_PROCESSOR = re.compile(r"cpu|x86_pkg|soc|^tj", re.IGNORECASE)
# PMIC-Die on Jetson is a constant (100 or 50 °C).
_CONSTANT = re.compile(r"pmic", re.IGNORECASE)
_HWMON_NAMES = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_PLAUSIBLE_C = (-40.0, 150.0)  # a sleeping sensor of a Jetson says -256

# Raspberry Pi, raspberrypi/documentation "vcgencmd get_throttled": under-voltage, frequency capped,
# throttled, soft temperature limit; 16 higher the same since the board was started.
NOW_BITS = 0xF
SINCE_BOOT_BITS = 0xF0000
_HEXADECIMAL = re.compile(r"^[0-9a-fA-F]{1,8}$")


def read_temperature(root: str) -> Optional[float]:
    """The hottest reading of the processor in °C; of any other sensor where the processor has none."""
    zones = list(_read_zones(root))
    of_processor = [degrees for name, degrees in zones if _OF_PROCESSOR.search(name)]
    of_hwmon = [] if of_processor else list(_read_hwmon(root))
    others = [degrees for name, degrees in zones if not _CONSTANT.search(name)]
    for readings in (of_processor, of_hwmon, others):
        if readings:
            return max(readings)
    return None


def _read_zones(root: str) -> Iterator[Tuple[str, float]]:
    for zone in list_names(root, _ZONES):
        degrees = _read_millidegrees(root, "{}/{}/temp".format(_ZONES, zone))
        name = read_text(root, "{}/{}/type".format(_ZONES, zone))
        if degrees is not None and name is not None:
            yield name, degrees


def _read_hwmon(root: str) -> Iterator[float]:
    for device in list_names(root, _HWMON):
        folder = "{}/{}".format(_HWMON, device)
        if read_text(root, folder + "/name") not in _HWMON_NAMES:
            continue
        for name in list_names(root, folder):
            if re.match(r"temp\d+_input$", name):
                degrees = _read_millidegrees(root, "{}/{}".format(folder, name))
                if degrees is not None:
                    yield degrees


def _read_millidegrees(root: str, path: str) -> Optional[float]:
    number = read_number(root, path)
    if number is None or not _PLAUSIBLE_C[0] < number / 1000.0 < _PLAUSIBLE_C[1]:
        return None
    return number / 1000.0


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
