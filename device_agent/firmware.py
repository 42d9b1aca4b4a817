"""What a Raspberry Pi's firmware tells only by its own command."""

import shutil
import subprocess
from typing import Any, Dict, Optional

from device_agent.sensors.thermal import NOW_BITS, parse_throttled

_TIMEOUT_S = 5


def ask_throttled() -> Optional[int]:
    """The throttling bits; None on every board that has no vcgencmd, or whose vcgencmd does not answer."""
    command = shutil.which("vcgencmd")
    if command is None:
        return None
    try:
        asked = subprocess.run(
            [command, "get_throttled"], stdout=subprocess.PIPE, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_throttled(asked.stdout.decode("ascii", "replace"))


def add_throttled(environment: Dict[str, Any], before: Optional[int], after: Optional[int]) -> None:
    """Complete the state around a round with the bits that sysfs did not tell."""
    for state, bits in ((environment["before"], before), (environment["after"], after)):
        if state["throttle_bits"] is None and bits is not None:
            state["throttle_bits"] = bits
            state["throttled"] = bool(bits & NOW_BITS)
