"""What a Raspberry Pi's firmware tells only by its own command."""

import shutil
import subprocess
from typing import Any, Dict, Optional

from device_agent.environment import read_environment
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


def read_state(root: str) -> Dict[str, Any]:
    """The state of the board now, with the firmware's own answer where it gives one."""
    state, bits = read_environment(root), ask_throttled()
    if bits is not None:
        set_throttled(state, bits)
    return state


def add_throttled(environment: Dict[str, Any], before: Optional[int], after: Optional[int]) -> None:
    """Put vcgencmd's answers before and after a round into the state around it; sysfs counts where none came.

    vcgencmd asks the firmware. sysfs prints what a driver was told last (Raspberry Pi OS): raspberrypi-hwmon
    asks every 2 s, and clears what has been since boot; without it sysfs says for ever what it said at boot.
    So the two are never compared: where vcgencmd told one end alone, nothing is known of the other.
    """
    if before is not None or after is not None:
        set_throttled(environment["before"], before)
        set_throttled(environment["after"], after)


def set_throttled(state: Dict[str, Any], bits: Optional[int]) -> None:
    """Put vcgencmd's answer into one state."""
    state["throttle_bits"] = bits
    state["throttled"] = None if bits is None else bool(bits & NOW_BITS)
