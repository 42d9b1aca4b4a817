"""The clocks of a Jetson and whether they are pinned, from `jetson_clocks --show`."""

import re
from typing import Any, Dict, List, Match, Optional, Pattern, Tuple

from device_agent.sensors.terminal import LOST, strip_terminal

Clocks = Dict[str, Any]


def _compile_line(name: str, *fields: Tuple[str, str]) -> Pattern[str]:
    """A line of fields in their order, from the first that is broken on without values."""
    field = r"(?:[ \t]+{}=({})(?=[ \t\n]))?"
    return re.compile(r"^[ \t]*" + name + "".join(field.format(*each) for each in fields), re.MULTILINE)


_HERTZ = tuple((key, "[0-9]{1,12}") for key in ("MinFreq", "MaxFreq", "CurrentFreq"))
_RANGE = "[0-9]{1,3}(?:-[0-9]{1,3})?"
_ONLINE = re.compile(r"Online CPUs:[ \t]*({0}(?:,{0}){{0,63}})(?=,?[ \t\n])".format(_RANGE))
# Padded names since R36; no Online on a TX1 with R28.1 (which spells Gonvernor) and on Thor, R38.
_CPU = _compile_line("cpu([0-9]{1,4}):", ("Online", "[01]"), ("Gon?vernor", r"[\w-]+"), *_HERTZ)
# On Thor, R38, gpu-gpc-0 computes; gpu-nvd-0 beside it decodes video.
_GPU = _compile_line(r"(?:GPU|gpu-gpc-0)(?=[ \t]+MinFreq=)", *_HERTZ)
_EMC = _compile_line(r"EMC(?=[ \t]+MinFreq=)", *_HERTZ, ("FreqOverride", "[01]"))
# R39 (Orin) prints no FreqOverride; elsewhere it may only be missing, cut off or on the next line.
_EMC_WITHOUT_OVERRIDE = re.compile(
    r"^[ \t]*EMC(?:[ \t]+(?:Min|Max|Current)Freq=[0-9]{1,12}){3}[ \t]*\n(?![ \t]*FreqOverride)", re.MULTILINE
)
_SOC = re.compile(r"SOC family:[ \t]*([\w-]+)(?=[ \t\n])")
_MACHINE = re.compile(r"Machine:[ \t]*([^ \t\n][^\n]{0,200}?)[ \t]*\n")
# The mode is the last line. Where not even a newline follows, a name that NVIDIA's own end like is whole.
_MODE = re.compile(
    r"NV Power Mode:[ \t]*([\w.+-]+(?=[ \t]*\n)|"
    r"[\w.+-]*(?:MAXN|MAXQ|_SUPER|[0-9]W|_[0-9]+CORE|_(?:ALL|ARM|DENVER|DESKTOP))\Z)"
)
_FAN = re.compile(r"^[ \t]*(fan\b[^\n]*?)[ \t]*\n", re.IGNORECASE | re.MULTILINE)


def parse(text: str) -> Clocks:
    """`soc`, `machine`, `online_cpus`, `cpus` by number (kHz), `gpu` and `emc` (Hz), `mode`, `fan` (its lines
    as they are) and `pinned`; None, or empty, for what the text does not say, or not in full.
    """
    text = strip_terminal(text)
    online = _find_online(text)
    found: Clocks = {
        "soc": _find_text(_SOC, text),
        "machine": _find_text(_MACHINE, text),
        "online_cpus": online,
        "cpus": _find_cpus(text, online),
        "gpu": _find_hertz(_GPU, text),
        "emc": _find_hertz(_EMC, text),
        "mode": _find_text(_MODE, text),
        "fan": [line for line in _FAN.findall(text) if LOST not in line],
    }
    found["pinned"] = _judge_pinned(found, text)
    return found


def _find_online(text: str) -> Optional[List[int]]:
    """The numbers in `Online CPUs: 0,3-5`."""
    match = _ONLINE.search(text)
    if match is None:
        return None
    found: List[int] = []
    for part in match.group(1).split(","):
        ends = [int(end) for end in part.split("-")]
        found += range(ends[0], ends[-1] + 1)
    return found


def _find_cpus(text: str, online: Optional[List[int]]) -> Dict[str, Clocks]:
    found: Dict[str, Clocks] = {}
    for match in _CPU.finditer(text):
        found.setdefault(match.group(1), _describe_cpu(match, online))
    return found


def _describe_cpu(match: Match[str], online: Optional[List[int]]) -> Clocks:
    """Where the line does not say whether the core is online, the list of those that are does."""
    number, is_online, governor, low, high, now = match.groups()
    is_listed = None if online is None else int(number) in online
    return {
        "online": is_listed if is_online is None else is_online == "1",
        "governor": governor,
        "min_khz": _to_int(low),
        "max_khz": _to_int(high),
        "cur_khz": _to_int(now),
    }


def _find_hertz(pattern: Pattern[str], text: str) -> Optional[Clocks]:
    match = pattern.search(text)
    if match is None:
        return None
    low, high, now, override = (*match.groups(), None)[:4]
    found = {"min_hz": _to_int(low), "max_hz": _to_int(high), "cur_hz": _to_int(now)}
    return found if pattern is _GPU else dict(found, override=_to_int(override))


def _find_text(pattern: Pattern[str], text: str) -> Optional[str]:
    match = pattern.search(text)
    return match.group(1) if match and LOST not in match.group(1) else None


def _to_int(digits: Optional[str]) -> Optional[int]:
    return None if digits is None else int(digits)


def _judge_pinned(found: Clocks, text: str) -> Optional[bool]:
    """Whether all clocks are held, as `jetson_clocks` does; None where a part that decides is missing.

    Cores with one clock are not enough: the 5W mode of a Nano gives them no other. Up to R38 the memory keeps
    its minimum when it is held, and FreqOverride tells; since R39 it has one clock as well.
    """
    numbers, cpus = found["online_cpus"], found["cpus"]
    signs = [_is_fixed(cpus.get(str(number)), "khz") for number in numbers or ()]
    signs += [_is_fixed(found["gpu"], "hz"), _is_memory_held(found, text)]
    if False in signs:
        return False
    return True if numbers and None not in signs else None


def _is_fixed(clocks: Optional[Clocks], unit: str) -> Optional[bool]:
    low, high = (clocks or {}).get("min_" + unit), (clocks or {}).get("max_" + unit)
    return None if low is None or high is None else bool(low == high)


def _is_memory_held(found: Clocks, text: str) -> Optional[bool]:
    """True, too, where the memory has no line although the last line, the mode, is there."""
    if found["emc"] is None:
        return True if found["mode"] else None
    override = found["emc"]["override"]
    if override is None:
        return _is_fixed(found["emc"], "hz") if _EMC_WITHOUT_OVERRIDE.search(text) else None
    return bool(override)
