"""CPU time of this process, and of others of this run by /proc/PID/stat: always of the real /proc."""

import resource
from typing import NamedTuple, Optional

from device_agent.sensors.tree import list_names, read_text


class Usage(NamedTuple):
    """The process group, and the ticks of all threads and of the children that were waited for."""

    group: int
    ticks: int


def cpu_s() -> float:
    """CPU seconds so far of all threads of this process, and of the programs that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def parse_stat(text: str) -> Optional[Usage]:
    """None where the line is none of a process. proc(5): pgrp is field 5, utime to cstime are 14 to 17."""
    words = text.rpartition(")")[2].split()  # the name before it may hold anything, ")" too
    if len(words) < 15:
        return None
    try:
        return Usage(int(words[2]), sum(int(word) for word in words[11:15]))
    except ValueError:
        return None


def read_ticks(pid: int) -> int:
    """The ticks of one process; 0 of one that is gone."""
    usage = parse_stat(read_text("/", "proc/{}/stat".format(pid)) or "")
    return 0 if usage is None else usage.ticks


def read_group_ticks(group: int) -> int:
    """The ticks of all processes of a group: of a sampler and of the command that it reads."""
    names = [name for name in list_names("/", "proc") if name.isdigit()]
    usages = [parse_stat(read_text("/", "proc/{}/stat".format(name)) or "") for name in names]
    return sum(usage.ticks for usage in usages if usage is not None and usage.group == group)
