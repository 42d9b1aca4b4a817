"""The cores of a board and their clusters, from /proc/cpuinfo and /sys/devices/system/cpu."""

import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from device_agent.sensors.arm_cores import Part, find_core_name, name_core, parse_midr
from device_agent.sensors.cpufreq import Clock, read_clock
from device_agent.sensors.tree import list_names, parse_core_list, read_number, read_text

_FOLDER = "sys/devices/system/cpu"
_CORE = re.compile(r"^cpu(\d{1,5})$")
_IMPLEMENTER = re.compile(r"^CPU implementer\s*:\s*0x([0-9a-fA-F]{2})\s*$", re.MULTILINE)
_PART = re.compile(r"^CPU part\s*:\s*0x([0-9a-fA-F]{3})\s*$", re.MULTILINE)
_PROCESSOR = re.compile(r"^processor\s*:\s*(\d{1,5})\s*$", re.MULTILINE)
_MODEL = re.compile(r"^(?:model name|Hardware)\s*:\s*(.+)$", re.MULTILINE)
_BLANKS = re.compile(r"\s+")
# Hybrid processors of Intel since Alder Lake (Linux 5.13): which cores are of which kind.
_KINDS = {"cpu_core": "P-core", "cpu_atom": "E-core", "cpu_lowpower": "LP E-core"}


class Core(NamedTuple):
    """A core that is online. `part` is known on ARM only; `kind` says what it is."""

    number: int
    kind: Optional[str]
    part: Optional[Part]
    package: Optional[int]
    capacity: Optional[int]
    clock: Clock


def parse_cpu_model(cpuinfo: str) -> Optional[str]:
    """The processor's name: x86 and some ARM kernels tell it, others only numbers of its kinds of cores."""
    kinds = list(dict.fromkeys(parse_parts(cpuinfo).values()))
    names = [find_core_name(part) for part in kinds]
    if kinds and None not in names:
        return " + ".join(name for name in names if name)
    named = _MODEL.search(cpuinfo)
    return _BLANKS.sub(" ", named.group(1)).strip() or None if named else None


def parse_parts(cpuinfo: str) -> Dict[int, Part]:
    """Implementer and part of the cores, by number. An old kernel names them once, after all the cores."""
    found: Dict[int, Part] = {}
    waiting: List[int] = []
    for paragraph in re.split(r"\n\s*\n", cpuinfo):
        waiting += [int(number) for number in _PROCESSOR.findall(paragraph)]
        implementer, part = _IMPLEMENTER.search(paragraph), _PART.search(paragraph)
        if implementer and part:
            told = (int(implementer.group(1), 16), int(part.group(1), 16))
            found.update((number, told) for number in waiting or [0])
            waiting = []
    return found


def find_offline_cores(root: str) -> List[int]:
    """Cores that are there and switched off, as some modes of nvpmodel do."""
    online = parse_core_list(read_text(root, _FOLDER + "/online"))
    present = parse_core_list(read_text(root, _FOLDER + "/present"))
    return sorted(set(present) - set(online)) if online else []


def read_cores(root: str) -> List[Core]:
    """The cores that are online, each with what it is and how it is clocked."""
    cpuinfo = read_text(root, "proc/cpuinfo") or ""
    parts, kinds, model = parse_parts(cpuinfo), _read_kinds(root), parse_cpu_model(cpuinfo)
    return [
        _read_core(root, number, parts.get(number), kinds.get(number, model))
        for number in _list_online(root, cpuinfo)
    ]


def _list_online(root: str, cpuinfo: str) -> List[int]:
    online = parse_core_list(read_text(root, _FOLDER + "/online"))
    if online:
        return online
    matches = [_CORE.match(name) for name in list_names(root, _FOLDER)]
    listed = sorted(int(match.group(1)) for match in matches if match)
    return listed or sorted(int(number) for number in _PROCESSOR.findall(cpuinfo))


def _read_kinds(root: str) -> Dict[int, str]:
    found: Dict[int, str] = {}
    for folder, kind in _KINDS.items():
        for core in parse_core_list(read_text(root, "sys/devices/{}/cpus".format(folder))):
            found[core] = kind
    return found


def _read_core(root: str, number: int, part: Optional[Part], kind: Optional[str]) -> Core:
    folder = "{}/cpu{}".format(_FOLDER, number)
    register = read_number(root, folder + "/regs/identification/midr_el1")
    known = part if register is None else parse_midr(register)
    return Core(
        number,
        kind if known is None else name_core(known),
        known,
        read_number(root, folder + "/topology/physical_package_id"),
        read_number(root, folder + "/cpu_capacity"),
        read_clock(root, number),
    )


def describe_clusters(root: str) -> List[Dict[str, Any]]:
    """The cores that are alike and clocked together, as the probe tells them.

    Clocks are in MHz: the lowest and highest of the cluster, `current_mhz` that of its fastest core now.
    """
    clusters: Dict[Any, List[Core]] = {}
    for core in read_cores(root):
        clusters.setdefault(_find_cluster(core), []).append(core)
    return [_describe(cores) for cores in clusters.values()]


def _find_cluster(core: Core) -> Tuple[Any, ...]:
    """On ARM a cluster is what one clock drives (three times four cores on an AGX Orin), or what is alike
    where each core has a clock. On x86 each has one, some a little faster than others: kinds count there.
    """
    if core.part is None:
        return (core.kind, core.package)
    shared = core.clock.together if len(core.clock.together) > 1 else core.clock.max_mhz
    return (core.kind, core.package, core.capacity, shared)


def _describe(cores: List[Core]) -> Dict[str, Any]:
    clocks = [core.clock for core in cores]
    governors = sorted({clock.governor for clock in clocks if clock.governor})
    return {
        "cores": [core.number for core in cores],
        "core_type": cores[0].kind,
        "capacity": _find_extreme(max, [core.capacity for core in cores]),
        "min_mhz": _find_extreme(min, [clock.min_mhz for clock in clocks]),
        "max_mhz": _find_extreme(max, [clock.max_mhz for clock in clocks]),
        "allowed_min_mhz": _find_extreme(min, [clock.allowed_min_mhz for clock in clocks]),
        "allowed_max_mhz": _find_extreme(max, [clock.allowed_max_mhz for clock in clocks]),
        "current_mhz": _find_extreme(max, [clock.current_mhz for clock in clocks]),
        "governor": ",".join(governors) or None,
    }


def _find_extreme(choose: Any, values: List[Any]) -> Any:
    told = [value for value in values if value is not None]
    return choose(told) if told else None
