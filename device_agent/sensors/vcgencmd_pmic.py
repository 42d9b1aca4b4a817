"""The rails of a Raspberry Pi 5, from `vcgencmd pmic_read_adc`."""

import re
from typing import Any, Dict, Optional, Pattern, Tuple

# "3V7_WL_SW_A current(0)=0.00390372A", "EXT5V_V volt(24)=5.05716000V": the unit shows that the number is
# whole. Numbers of channels follow no order, and names changed (0V8_SYS became 0V8_SW in 2023).
_CHANNEL = (
    r"(?<![^ \t\n])([0-9A-Z]\w*)_{0}[ \t]+{1}\([0-9]{{1,3}}\)="
    r"(?:(-?[0-9]{{1,4}}\.[0-9]{{1,12}}){0}(?![\w.]))?"
)
_CURRENT = re.compile(_CHANNEL.format("A", "current"))
_VOLTAGE = re.compile(_CHANNEL.format("V", "volt"))
_INPUT = "EXT5V"
_DIGITS = 6


def parse_channels(text: str) -> Dict[str, Any]:
    """`amps` and `volts` by rail, `rails` with both and their watts, `sum_w` of these, `input_v`, and the
    `unpaired` rails that have only one of the two; empty for a text without any channel.

    `sum_w` is not what the board draws: EXT5V has no current, and what hangs on 5 V (USB, HATs) is in no
    rail. It is None where no channel has a certain number.
    """
    is_told, amps = _find_channels(_CURRENT, text)
    is_told_too, volts = _find_channels(_VOLTAGE, text)
    if not is_told and not is_told_too:
        return {}
    paired = [name for name in amps if name in volts]
    return {
        "amps": amps,
        "volts": volts,
        "rails": {name: _describe_rail(amps[name], volts[name]) for name in paired},
        "sum_w": _sum_watts(amps, volts),
        "input_v": volts.get(_INPUT),
        "unpaired": sorted(set(amps) ^ set(volts)),
    }


def _find_channels(pattern: Pattern[str], text: str) -> Tuple[bool, Dict[str, float]]:
    """Whether there are any, and their values; of several readings in one text the first counts."""
    found: Dict[str, float] = {}
    matches = pattern.findall(text)
    for name, value in matches:
        if value:
            found.setdefault(name, float(value))
    return bool(matches), found


def _describe_rail(amps: float, volts: float) -> Dict[str, float]:
    return {"a": amps, "v": volts, "w": round(amps * volts, _DIGITS)}


def _sum_watts(amps: Dict[str, float], volts: Dict[str, float]) -> Optional[float]:
    if not amps and not volts:
        return None
    return round(sum(amps[name] * volts[name] for name in amps if name in volts), _DIGITS)
