"""What `vcgencmd` of a Raspberry Pi printed, whichever of its subcommands it was."""

import re
from typing import Any, Callable, Dict, List, Match, Optional, Pattern

from device_agent.sensors.terminal import strip_terminal
from device_agent.sensors.vcgencmd_pmic import parse_channels

# Each pattern knows its command by what comes before the value, and takes the value only where what follows
# shows that it is whole. A shell loop prints a name first: "core:   frequency(1)=199995120".
_ALONE = r"(?<![\w.\ufffd-])"
_NAME = r"(?:" + _ALONE + r"(?P<name>[A-Za-z]\w*)[ \t]*[:=][ \t]*)?" + _ALONE
_NUMBER = r"-?[0-9]{1,4}(?:\.[0-9]{1,9})?"
_TEMPERATURE = re.compile(_ALONE + r"temp=(?P<value>" + _NUMBER + r"(?=['’´`°]))?")
_VOLTS = re.compile(_NAME + r"volt=(?P<value>" + _NUMBER + r"(?=V))?")
_CLOCK = re.compile(_NAME + r"frequency\((?P<id>[0-9]{1,3})\)=(?P<value>[0-9]{1,12}(?=[ \t\n]|\Z))?")
# At the very end of a text the last newline may be lost (a shell's `$(…)` drops it), or more than that: there
# a number counts only if it cannot go on. Nothing has leading zeros, so 0 is whole, and so are bits with the
# five digits of bit 16 and above, while 0x5 may be the start of 0x50005. No answer has fewer digits: the
# firmware tells what is on now as something that was on since boot, too. A clock has 32 bits.
_THROTTLED = re.compile(
    _ALONE + r"throttled=(?:0x(?P<value>[0-9a-fA-F]{1,8}(?=[ \t\n])|(?:0|[1-9a-fA-F][0-9a-fA-F]{4})\Z))?"
)
_MOST_HZ = 0xFFFFFFFF  # raspberrypi/firmware, wiki "Mailbox property interface": rates are u32
_REFUSAL = re.compile(r'error=[0-9]+ error_msg="([^"\n\ufffd]+)"')
_FAILURE = re.compile(
    r"^.*(?:\bfailed\b|\bcan't\b|\bcannot\b|\bdenied\b|\bnot found\b|\bno such\b|\breturned -[0-9]).*$",
    re.IGNORECASE | re.MULTILINE,
)

# raspberrypi/documentation, "vcgencmd get_throttled": by bit; 16 higher the same since the board was started.
_THROTTLE_BITS = ("under_voltage", "arm_freq_capped", "throttled", "soft_temp_limit")
_SINCE_BOOT_SHIFT = 16

_KEYS = ("error", "temp_c", "id", "hz", "volts", "raw", "now", "since_boot")


def parse(text: str) -> Dict[str, Any]:
    """The readings under the keys of the subcommand that printed them; None for one that is not certain.

    measure_temp gives `temp_c`; measure_clock `id` and `hz`, or hertz by name where a loop printed names;
    measure_volts `volts`, or volts by name; get_throttled `raw`, `now` and `since_boot`; pmic_read_adc what
    `parse_channels` says. A refusal is the `error`. It does not say which command was refused, and neither
    does a text that none of them prints: then all keys are there, without values.
    """
    text = strip_terminal(text)
    found: Dict[str, Any] = {}
    for read in (_read_temperature, _read_clocks, _read_volts, _read_throttled, parse_channels):
        for key, value in read(text).items():
            found.setdefault(key, value)
    error = _find_error(text)
    if not found:
        found = _list_missing(error)
    if error is not None:
        found["error"] = error
    return found


def _read_temperature(text: str) -> Dict[str, Any]:
    """The same shape for the chip and for `measure_temp pmic`."""
    match = _TEMPERATURE.search(text)
    return {"temp_c": _to_float(match)} if match else {}


def _read_clocks(text: str) -> Dict[str, Any]:
    """The id is no name: 45 is arm on a Pi 1 and isp on a Pi 4, and on a Pi 5 all are 0.

    0 Hz is a clock that stands still.
    """
    match = _CLOCK.search(text)
    unnamed = {"id": int(match.group("id")), "hz": _to_hz(match)} if match else {}
    return _read_named(_CLOCK, text, _to_hz) or unnamed


def _read_volts(text: str) -> Dict[str, Any]:
    match = _VOLTS.search(text)
    return _read_named(_VOLTS, text, _to_float) or ({"volts": _to_float(match)} if match else {})


def _read_throttled(text: str) -> Dict[str, Any]:
    match = _THROTTLED.search(text)
    if match is None:
        return {}
    bits = int(match.group("value"), 16) if match.group("value") else None
    shifted = None if bits is None else bits >> _SINCE_BOOT_SHIFT
    return {"raw": bits, "now": _name_bits(bits), "since_boot": _name_bits(shifted)}


def _name_bits(bits: Optional[int]) -> Optional[List[str]]:
    if bits is None:
        return None
    return [name for bit, name in enumerate(_THROTTLE_BITS) if bits >> bit & 1]


def _read_named(
    pattern: Pattern[str], text: str, convert: Callable[[Match[str]], Optional[float]]
) -> Dict[str, Any]:
    """What a loop printed, by name; of several answers to one name the first counts."""
    found: Dict[str, Any] = {}
    for match in pattern.finditer(text):
        if match.group("name"):
            found.setdefault(match.group("name"), convert(match))
    return found


def _to_float(match: Match[str]) -> Optional[float]:
    return None if match.group("value") is None else float(match.group("value"))


def _to_hz(match: Match[str]) -> Optional[int]:
    """At the very end of a text only 0, and a number with no room for another digit."""
    if match.group("value") is None:
        return None
    hz = int(match.group("value"))
    may_go_on = match.end() == len(match.string) and 0 < 10 * hz <= _MOST_HZ
    return None if may_go_on else hz


def _find_error(text: str) -> Optional[str]:
    """The firmware's message, else the first line that tells of a failure."""
    refusal = _REFUSAL.search(text)
    if refusal:
        return refusal.group(1)
    failure = _FAILURE.search(text)
    return failure.group(0).strip(" \t") if failure else None


def _list_missing(error: Optional[str]) -> Dict[str, Any]:
    """Every key without a value.

    Only pmic_read_adc is a command that some boards do not have (up to the Pi 4), so what is not registered
    has no voltages by rail; else `volts` is one reading that is missing.
    """
    found: Dict[str, Any] = dict.fromkeys(_KEYS)
    found.update(amps={}, rails={}, sum_w=None, input_v=None, unpaired=[])
    if error is not None and "not registered" in error:
        found["volts"] = {}
    return found
