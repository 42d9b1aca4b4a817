"""A core of its own for the process that reads a sensor, and the worker on the others meanwhile."""

import os
from contextlib import contextmanager
from typing import Dict, Iterator, Optional, Sequence, Set

from device_agent.sensors.tree import list_names, read_number

_CORE = "sys/devices/system/cpu/cpu{}/{}"
_STRENGTHS = ("cpu_capacity", "cpufreq/cpuinfo_max_freq")  # the first is told where cores differ (ARM)


def choose_core(cores: Sequence[int], threads: Optional[int]) -> Optional[int]:
    """The core that a worker of so many threads can spare, None if it computes on all of them.

    The weakest one, since the worker would take it last; of equals the first, which serves interrupts too.
    A worker of an accelerator (None) needs one core to feed it.
    """
    if len(cores) <= (1 if threads is None else threads):
        return None
    return min(cores, key=lambda core: (_rate_core(core), core))


def _rate_core(core: int) -> int:
    """By the real /sys: a core that another root tells of could not be chosen."""
    told = (read_number("/", _CORE.format(core, name)) for name in _STRENGTHS)
    return next((number for number in told if number is not None), 0)


@contextmanager
def keep_off(pid: int, core: Optional[int]) -> Iterator[bool]:
    """Every thread of a process stays off a core until the block ends; gives whether that could be had."""
    if core is None:
        yield False
        return
    before = read_affinities(pid)
    others = _all_cores(before) - {core}
    done = [_restrict(thread, allowed - {core} or others) for thread, allowed in before.items()]
    try:
        yield bool(done) and all(done)
    finally:
        for thread, allowed in before.items():
            _restrict(thread, allowed)


def read_affinities(pid: int) -> Dict[int, Set[int]]:
    """The cores that each thread of a process may run on; empty for a process that is gone."""
    found: Dict[int, Set[int]] = {}
    for name in list_names("/", "proc/{}/task".format(pid)):
        try:
            found[int(name)] = os.sched_getaffinity(int(name))
        except OSError:
            continue  # the thread has ended meanwhile
    return found


def _all_cores(affinities: Dict[int, Set[int]]) -> Set[int]:
    return {core for allowed in affinities.values() for core in allowed}


def _restrict(thread: int, cores: Set[int]) -> bool:
    """Whether a thread now keeps to these cores; one that has ended does."""
    try:
        os.sched_setaffinity(thread, cores)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False
    return True
