"""The memory of this process, and what is left on the board, by the kernel's own counters."""

import re
from typing import Optional

from device_agent.sensors.load import read_memory
from device_agent.sensors.tree import read_text


def parse_status(text: str, field: str) -> Optional[float]:
    """A field of /proc/PID/status or smaps_rollup in MiB."""
    match = re.search(r"^{}:\s+(\d+) kB".format(field), text, re.MULTILINE)
    return int(match.group(1)) / 1024.0 if match else None


def read_resident() -> Optional[float]:
    """Resident memory in MiB."""
    return parse_status(read_text("/", "proc/self/status") or "", "VmRSS")


def read_proportional() -> Optional[float]:
    """Memory in MiB with shared pages counted by their share; kernel 4.14 and later tell it at once."""
    return parse_status(read_text("/", "proc/self/smaps_rollup") or "", "Pss")


def reset_peak() -> bool:
    """Whether the kernel took the order to forget the peak so far (proc(5), clear_refs, Linux 4.0)."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return False
    return True


def read_peak() -> Optional[float]:
    """The highest resident memory in MiB since the peak was reset."""
    return parse_status(read_text("/", "proc/self/status") or "", "VmHWM")


def read_available() -> Optional[float]:
    """What the board has left in MiB; None before kernel 3.14."""
    return read_memory("/").available


def find_fall(before: Optional[float], *afterwards: Optional[float]) -> Optional[float]:
    """By how much less was left at its lowest afterwards; None where any of it was not told.

    On a Jetson what a GPU holds is in the memory of the board and not in the resident size of a process.
    """
    told = [one for one in afterwards if one is not None]
    if before is None or len(told) < len(afterwards):
        return None
    return max(0.0, before - min(told))
