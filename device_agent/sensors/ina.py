"""Power of the rails of a Jetson, from the INA3221 and INA238 sensors that its kernel shows in /sys."""

import re
from collections import Counter
from typing import Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from device_agent.sensors.tree import list_names, read_number, read_text

_DRIVERS = "sys/bus/i2c/drivers"
_HWMON = "sys/class/hwmon"
_IIO_DRIVER = _DRIVERS + "/ina3221x"  # NVIDIA's own, L4T up to 32; since L4T 34 it is the kernel's ina3221
_HWMON_CHIPS = ("ina3221", "ina238")
_IIO_DEVICE = re.compile(r"^iio[:_-]device\d*$")
# sys/devices/platform/bus@0/c240000.i2c/i2c-1/1-0040 (Orin, R36), sys/devices/50000000.host1x/546c0000.i2c/
# i2c-6/6-0040 (Nano, R32): the roads of drivers and classes end there; a container may show none of them.
_BUS = re.compile(r"^(?:platform|bus@\w{1,16}|\w{1,16}\.(?:i2c|host1x)|i2c-\d{1,3})$")
_ADDRESS = re.compile(r"^\d{1,3}-00[0-9a-f]{2}$")
_UNCONNECTED = ("", "NC", "N/C")
# No rail of a Jetson comes near 1 kV, 1 kA or 1 kW: such a number is a register read wrongly.
_ABSURD = 1e6

# What is drawn in all, by the names of the rails; the first rule whose rails are all there holds.
_TOTALS: Tuple[Tuple[str, ...], ...] = (
    ("POM_5V_IN",),  # Nano; POM_5V_GPU and POM_5V_CPU hang below
    ("VDD_IN",),  # TX1, TX2, Xavier NX, Orin NX, Orin Nano: the module without its carrier board
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier: none of them feeds another
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin; VDDQ_VDD2_1V8AO hangs below VIN_SYS_5V0
    ("VIN",),  # Thor whose carrier board has an INA238
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),  # Thor without
)


class Rail(NamedTuple):
    """A supply and its files, in mV and mA; where none tells the power, it is their product."""

    name: str
    voltage: str
    current: str
    power: Optional[str]
    units_per_mw: int


def find_rails(root: str) -> List[Rail]:
    """The rails of all sensors, channel by channel; empty where the board has none.

    Two sensors may give their rails one name: both are listed, and reading gives that name no value.
    """
    found = list(_find_iio_rails(root))
    for chip, folder in _find_hwmons(root):
        found += _list_ina238(root, folder) if chip == "ina238" else _list_ina3221(root, folder)
    return [rail for rail in found if rail.name.upper() not in _UNCONNECTED]


def _find_iio_rails(root: str) -> Iterator[Rail]:
    """L4T up to 32: ina3221x/0-0041/iio:device1 (TX2), where iio_device is the same folder again."""
    chips = dict(_find_addresses(root, "sys/devices"))
    chips.update((address, "{}/{}".format(_IIO_DRIVER, address)) for address in list_names(root, _IIO_DRIVER))
    for _, chip in sorted(chips.items()):
        devices = [name for name in list_names(root, chip) if _IIO_DEVICE.match(name)]
        for device in devices[:1]:
            for channel in (0, 1, 2):
                yield _make_iio_rail(root, "{}/{}".format(chip, device), channel)


def _find_addresses(root: str, folder: str) -> Iterator[Tuple[str, str]]:
    """All that hangs on an I2C bus below a folder of devices: its address and its folder."""
    for name in list_names(root, folder):
        path = "{}/{}".format(folder, name)
        if _ADDRESS.match(name):
            yield name, path
        elif _BUS.match(name):
            yield from _find_addresses(root, path)


def _make_iio_rail(root: str, folder: str, channel: int) -> Rail:
    quantities = ("voltage", "current", "power")
    voltage, current, power = ("{}/in_{}{}_input".format(folder, name, channel) for name in quantities)
    return Rail(_read_label(root, folder, "rail_name_{}".format(channel)), voltage, current, power, 1)


def _find_hwmons(root: str) -> List[Tuple[str, str]]:
    """Chips and their folders, in the order of their addresses, since hwmon numbers move between boots.

    Within one boot a number is given once: a chip that is reached by two roads counts once.
    """
    found: Dict[str, Tuple[str, str]] = {}
    for chip in _HWMON_CHIPS:
        for address in list_names(root, "{}/{}".format(_DRIVERS, chip)):
            folder = "{}/{}/{}/hwmon".format(_DRIVERS, chip, address)
            found.update((hwmon, (chip, "{}/{}".format(folder, hwmon))) for hwmon in list_names(root, folder))
    folders = [_HWMON] + sorted("{}/hwmon".format(path) for _, path in _find_addresses(root, "sys/devices"))
    for folder in folders:
        for hwmon in list_names(root, folder):
            name = read_text(root, "{}/{}/name".format(folder, hwmon))
            if name in _HWMON_CHIPS:
                found.setdefault(hwmon, (name, "{}/{}".format(folder, hwmon)))
    return list(found.values())


def _list_ina3221(root: str, folder: str) -> List[Rail]:
    """L4T since 34: in4 to in6 are voltages of shunts, in7 and curr4 are sums over the channels."""
    return [
        Rail(
            _read_label(root, folder, "in{}_label".format(channel)),
            "{}/in{}_input".format(folder, channel),
            "{}/curr{}_input".format(folder, channel),
            power=None,
            units_per_mw=1,
        )
        for channel in (1, 2, 3)
    ]


def _list_ina238(root: str, folder: str) -> List[Rail]:
    """Thor, R38: one rail, named by the label of the chip, its power in microwatts; in0 is the shunt."""
    voltage, current, power = (folder + name for name in ("/in1_input", "/curr1_input", "/power1_input"))
    return [Rail(_read_label(root, folder, "label"), voltage, current, power, units_per_mw=1000)]


def _read_label(root: str, folder: str, name: str) -> str:
    return read_text(root, "{}/{}".format(folder, name)) or ""


def read_rails(root: str, rails: Iterable[Rail]) -> Dict[str, Optional[float]]:
    """Milliwatts by name, negative ones too: an idle rail may read below zero.

    None where a file is missing, unreadable or absurd, and for a name that two rails share, since which of
    them is meant cannot be known.
    """
    found: Dict[str, Optional[float]] = {}
    for rail in rails:
        found[rail.name] = None if rail.name in found else _read_power(root, rail)
    return found


def describe_rails(root: str, rails: Iterable[Rail]) -> Dict[str, Dict[str, Optional[float]]]:
    """Like `read_rails`, with `mv` and `ma` beside `mw`."""
    found: Dict[str, Dict[str, Optional[float]]] = {}
    for rail in rails:
        is_shared = rail.name in found
        found[rail.name] = dict.fromkeys(("mv", "ma", "mw")) if is_shared else _describe(root, rail)
    return found


def _read_power(root: str, rail: Rail) -> Optional[float]:
    if rail.power is not None:
        return _read_quantity(root, rail.power, rail.units_per_mw)
    return _multiply(_read_quantity(root, rail.voltage), _read_quantity(root, rail.current))


def _describe(root: str, rail: Rail) -> Dict[str, Optional[float]]:
    mv, ma = _read_quantity(root, rail.voltage), _read_quantity(root, rail.current)
    return {"mv": mv, "ma": ma, "mw": _multiply(mv, ma) if rail.power is None else _read_power(root, rail)}


def _read_quantity(root: str, path: str, units: int = 1) -> Optional[float]:
    number = read_number(root, path)
    # Compared as whole numbers: one of a thousand digits has no float.
    return None if number is None or abs(number) >= _ABSURD * units else number / units


def _multiply(mv: Optional[float], ma: Optional[float]) -> Optional[float]:
    mw = None if mv is None or ma is None else mv * ma / 1000
    return None if mw is None or abs(mw) >= _ABSURD else mw


def find_total(names: Iterable[str]) -> Optional[Tuple[str, ...]]:
    """The rails whose sum is what the board or module draws; None where no rule fits, or not in full.

    Names are those of `find_rails` or of tegrastats; one that comes twice is in no sum. Choose once for a
    run: Thor has two rules, and a rail lost on the way must not change what is summed.
    """
    counts = Counter(names)
    for rule in _TOTALS:
        if all(counts[name] == 1 for name in rule):
            return rule
    return None


def sum_rails(values: Mapping[str, Optional[float]], names: Iterable[str]) -> Optional[float]:
    """The sum of the named rails; None where one of them has no value: never a part of it."""
    told = [values.get(name) for name in names]
    known = [value for value in told if value is not None]
    return sum(known) if known and len(known) == len(told) else None
