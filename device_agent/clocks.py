"""The board's clocks, and which boot they belong to: a board's date may be wrong, or be set meanwhile."""

import time
from typing import Any, Dict, Optional

from device_agent.sensors.tree import read_text


def read_boot() -> Optional[str]:
    """The word that the kernel drew when it was started; the monotonic clock counts from there."""
    return read_text("/", "proc/sys/kernel/random/boot_id")


def read_clocks() -> Dict[str, Any]:
    """Seconds since the epoch, seconds of the monotonic clock, and the boot."""
    return {"wall": time.time(), "mono": time.monotonic(), "boot": read_boot()}
