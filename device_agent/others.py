"""What share of the usable cores other processes take while this one works."""

import os
import time
from typing import Callable, Optional

from device_agent.board_root import find_root
from device_agent.environment import usable_cores
from device_agent.sensors.load import read_busy_ticks
from device_agent.sensors.process_cpu import cpu_s
from device_agent.validity import share_of_others


def watch_others(read_own_s: Callable[[], float] = cpu_s) -> Callable[[], Optional[float]]:
    """What tells afterwards which share others took since now; None where /proc does not say.

    `read_own_s` tells the CPU seconds so far of all that does not count as others.
    """
    root, cores = find_root(), usable_cores()
    own_s, ticks, began = read_own_s(), read_busy_ticks(root, cores), time.monotonic()

    def share() -> Optional[float]:
        core_s = (time.monotonic() - began) * len(cores)
        ticks_after, spent_s = read_busy_ticks(root, cores), read_own_s() - own_s
        return share_of_others(ticks, ticks_after, 1.0 / os.sysconf("SC_CLK_TCK"), spent_s, core_s)

    return share
