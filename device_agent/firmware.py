"""What a Raspberry Pi's firmware tells only by its own command."""

import shutil
import subprocess
from typing import Any, Dict, Optional

from device_agent.sensors.thermal import NOW_BITS
from device_agent.sensors.vcgencmd import parse
from device_agent.sensors.vcgencmd_pmic import parse_channels

_TIMEOUT_S = 5


def ask_throttled() -> Optional[int]:
    """The throttling bits; None on every board that has no vcgencmd, or whose vcgencmd does not answer."""
    bits: Optional[int] = parse(_ask("get_throttled")).get("raw")
    return bits


def ask_power_w() -> Optional[float]:
    """The watts of a Raspberry Pi 5, all rails together; None on other boards, or where a rail is not whole.

    What hangs on 5 V (USB, HATs) is in no rail, nor is what the regulators lose.
    """
    found = parse_channels(_ask("pmic_read_adc"))
    if not found or not found["rails"] or any(name in found["amps"] for name in found["unpaired"]):
        return None
    watts: float = found["sum_w"]
    return watts


def _ask(question: str) -> str:
    """What vcgencmd prints; nothing where there is none, or it does not answer."""
    command = shutil.which("vcgencmd")
    if command is None:
        return ""
    try:
        asked = subprocess.run([command, question], stdout=subprocess.PIPE, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.decode("ascii", "replace")


def add_throttled(environment: Dict[str, Any], before: Optional[int], after: Optional[int]) -> None:
    """Complete the state around a round with the bits that sysfs did not tell."""
    for state, bits in ((environment["before"], before), (environment["after"], after)):
        if state["throttle_bits"] is None and bits is not None:
            state["throttle_bits"] = bits
            state["throttled"] = bool(bits & NOW_BITS)
