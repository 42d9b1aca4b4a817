"""The power pass of one measurement: idle, load, idle again, while the source of power is read."""

import time
from typing import Any, Dict

from device_agent.power import EnergySource, measure_load, read_idle, summarize_power
from device_agent.supervision import Wakeup, WorkerProcess


def measure_power(
    source: EnergySource, worker: WorkerProcess, window_s: float, timeout_s: float, wakeup: Wakeup
) -> Dict[str, Any]:
    """Power in W at idle and under load, and energy per inference in mJ, of a worker that waits for commands.

    Every window lasts `window_s`. Raises TaskFailed where the worker does not answer in `timeout_s`, Stopped
    where the run is to end.
    """

    def work() -> int:
        return int(worker.ask({"do": "load", "seconds": window_s}, timeout_s)["inferences"])

    with source.counting():
        idle = read_idle(source, window_s, wakeup.wait, time.monotonic)
        joules, seconds, inferences = measure_load(source, work, time.monotonic)
        idle += read_idle(source, window_s, wakeup.wait, time.monotonic)
    return summarize_power(source.name, idle, joules, seconds, inferences)
