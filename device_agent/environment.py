"""What the board says of itself around a measurement: clocks, temperature, throttling, load, versions."""

import os
import platform
import sys
import time
from typing import Any, Dict, List

from device_agent import protocol
from device_agent.sensors.cpufreq import read_frequencies, read_governor, read_measured_frequencies
from device_agent.sensors.load import read_load, read_memory
from device_agent.sensors.supply import read_overcurrent_events
from device_agent.sensors.thermal import read_temperature, read_throttling


def usable_cores() -> List[int]:
    """The cores that this process may run on."""
    return sorted(os.sched_getaffinity(0))


def read_environment(root: str = "/") -> Dict[str, Any]:
    """The state of the board now. A value that the board does not tell is None."""
    cores = usable_cores()
    throttling = read_throttling(root)
    counts = [one for one in (throttling.events, read_overcurrent_events(root)) if one is not None]
    return {
        "time": time.time(),
        "governor": read_governor(root, cores),
        "freq_mhz": read_frequencies(root, cores),
        "measured_mhz": read_measured_frequencies(root, cores),
        "temperature_c": read_temperature(root),
        "throttled": throttling.is_throttled_now,
        "throttle_count": sum(counts) if counts else None,
        "throttle_bits": throttling.bits,
        "load_1m": read_load(root),
        "mem_available_mb": read_memory(root).available,
    }


def read_versions() -> Dict[str, Any]:
    """Versions that decide a measurement, of what is loaded in this process."""
    numpy = sys.modules.get("numpy")
    return {
        "agent": protocol.AGENT_VERSION,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "numpy": getattr(numpy, "__version__", None),
    }
