"""How busy the board is and how much memory it has left, from /proc."""

import re
from typing import Dict, NamedTuple, Optional, Sequence

from device_agent.sensors.tree import read_text

_CPU_LINE = re.compile(r"^cpu(\d+)((?: \d+)+)", re.MULTILINE)
# proc(5): user nice system idle iowait irq softirq steal guest guest_nice; guest is inside user.
_BUSY_COLUMNS = (0, 1, 2, 5, 6, 7)


def parse_busy_ticks(text: str, cores: Sequence[int]) -> int:
    """Ticks that some cores spent on anything but idling, what a hypervisor took (steal) included."""
    busy = 0
    for match in _CPU_LINE.finditer(text):
        if int(match.group(1)) in cores:
            columns = [int(word) for word in match.group(2).split()]
            busy += sum(columns[index] for index in _BUSY_COLUMNS if index < len(columns))
    return busy


def parse_meminfo(text: str) -> Dict[str, float]:
    """Every field of /proc/meminfo in MiB."""
    found = re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)
    return {name: int(kilobytes) / 1024.0 for name, kilobytes in found}


class Memory(NamedTuple):
    """In MiB. Kernels before 3.14 do not tell what is available."""

    total: Optional[float]
    available: Optional[float]


def read_memory(root: str) -> Memory:
    fields = parse_meminfo(read_text(root, "proc/meminfo") or "")
    return Memory(fields.get("MemTotal"), fields.get("MemAvailable"))


def read_swap_mb(root: str) -> Optional[int]:
    """The size of all swap in MiB, that in compressed memory (zram of Jetsons) included; 0 is none."""
    total = parse_meminfo(read_text(root, "proc/meminfo") or "").get("SwapTotal")
    return None if total is None else round(total)


def read_busy_ticks(root: str, cores: Sequence[int]) -> Optional[int]:
    text = read_text(root, "proc/stat")
    return None if text is None else parse_busy_ticks(text, cores)


def read_load(root: str) -> Optional[float]:
    """The load average over one minute."""
    text = read_text(root, "proc/loadavg")
    try:
        return None if text is None else float(text.split()[0])
    except (ValueError, IndexError):
        return None


def read_oom_kills(root: str) -> Optional[int]:
    """Processes that the kernel killed for memory since boot; None before kernel 4.13."""
    text = read_text(root, "proc/vmstat") or ""
    match = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(match.group(1)) if match else None
