"""What a board is like at this moment, as far as it makes measurements better or worse; the host judges.

What does not change from one moment to the next is in the probe.
"""

import os
import time
from typing import Any, Dict, List, Optional

from device_agent.environment import usable_cores
from device_agent.faults import AgentFault
from device_agent.firmware import ask_throttled
from device_agent.jetson import describe_mode
from device_agent.lock import acquire_lock, find_holder
from device_agent.sensors.load import parse_meminfo, read_busy_ticks, read_load
from device_agent.sensors.power_modes import asks_for_restart, find_fastest, find_mode
from device_agent.sensors.processes import DESKTOP, find_busiest, find_installing, pick_names, read_processes
from device_agent.sensors.supply import read_overcurrent_events, read_voltage_alarm
from device_agent.sensors.swap import parse_swaps
from device_agent.sensors.thermal import read_throttling
from device_agent.sensors.tree import list_names, read_text
from device_agent.tuning.fixing import Outcome, look, settle
from device_agent.tuning.step import Place

Fields = Dict[str, Any]

WINDOW_S = 1.0
_BUSIEST = 3
_TIMERS = "etc/systemd/system/timers.target.wants"
_UPGRADES = ("apt-daily.timer", "apt-daily-upgrade.timer", "dnf-automatic.timer", "dnf-makecache.timer")


def describe_conditions(place: Place) -> Fields:
    """All of them; what the board does not tell is None. What a dead run has left changed is put back."""
    settled = settle_if_free(place)
    root = place.root
    memory = parse_meminfo(read_text(root, "proc/meminfo") or "")
    throttling, bits = read_throttling(root), ask_throttled()
    found: Fields = {
        "time": time.time(),
        "throttle_bits": throttling.bits if bits is None else bits,
        "throttle_events": throttling.events,
        "voltage_alarm": read_voltage_alarm(root),
        "overcurrent_events": read_overcurrent_events(root),
        "swaps": parse_swaps(read_text(root, "proc/swaps") or ""),
        "memory_mb": memory.get("MemTotal"),
        "available_mb": memory.get("MemAvailable"),
        "load_1m": read_load(root),
        "upgrade_timers": [name for name in list_names(root, _TIMERS) if name in _UPGRADES],
        "fastest_mode": _describe_fastest(place),
        "measuring": _describe_holder(find_holder(place.folder)),
        "fix": look(place),
        "settled": settled,
    }
    found.update(_watch_processes(root))
    return found


def settle_if_free(place: Place) -> List[Outcome]:
    """What was put back since whoever changed it is dead; nothing while somebody measures."""
    if look(place) is None:
        return []
    try:
        lock = acquire_lock(place.folder, "doctor", "doctor")
    except AgentFault:
        return []
    try:
        return settle(place)
    finally:
        os.close(lock)


def _describe_fastest(place: Place) -> Optional[Fields]:
    """The mode of nvpmodel without limits, and whether the board has to restart to get there."""
    modes = place.modes()
    fastest = find_fastest(modes)
    if fastest is None:
        return None
    now = find_mode(modes, (describe_mode(place.root) or {}).get("mode_id"))
    return {
        "mode": fastest.name,
        "mode_id": fastest.mode_id,
        "asks_for_restart": now is not None and asks_for_restart(now, fastest),
    }


def _describe_holder(holder: Optional[Fields]) -> Optional[str]:
    if holder is None:
        return None
    return "{} since {}".format(holder.get("holder") or "somebody", holder.get("since") or "an unknown time")


def _watch_processes(root: str) -> Fields:
    """What computes while we wait, and which programs run that disturb."""
    before, ticks, began = read_processes(root), _read_ticks(root), time.monotonic()
    time.sleep(WINDOW_S)
    ticks_after, took = _read_ticks(root), time.monotonic() - began
    after = read_processes(root)
    per_core = os.sysconf("SC_CLK_TCK") * took
    busy = None if ticks is None or ticks_after is None else max(0, ticks_after - ticks) / per_core
    return {
        "busy_cores": None if busy is None else round(busy, 3),
        "busiest": find_busiest(before, after, per_core, _BUSIEST),
        "desktop": pick_names(after, DESKTOP),
        "installing": find_installing(root, after),
    }


def _read_ticks(root: str) -> Optional[int]:
    return read_busy_ticks(root, usable_cores())
