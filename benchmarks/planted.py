"""Troubles that are planted into runs of the agent, each with the flags that its run then has."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import Lab, find_flags

LAYER = "0" * 64
SLOWER = """
import sys, time
del sys.path[0], sys.modules["onnxruntime"]
import onnxruntime

class Slower(onnxruntime.InferenceSession):
    began = count = 0

    def run(self, *given):
        started = time.perf_counter()
        Slower.began = Slower.began or started
        Slower.count += 1
        found = super().run(*given)
        factor = {factor}
        until = started + (time.perf_counter() - started) * factor
        while time.perf_counter() < until:
            pass
        return found

onnxruntime.InferenceSession = Slower
"""
DRIFTING = "1 + 0.03 * (started - Slower.began)"
UNSETTLED = "1.5 ** (Slower.count // 20 % 5)"  # no two neighbouring windows are alike


def plant_hog(lab: Lab, run: str) -> set[str]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as hog:
        try:
            return find_flags(lab.measure(run))
        finally:
            hog.kill()


def plant_drift(lab: Lab, run: str) -> set[str]:
    return find_flags(lab.measure(run, layer=put_runtime(lab, DRIFTING)))


def plant_unsettled(lab: Lab, run: str) -> set[str]:
    return find_flags(lab.measure(run, layer=put_runtime(lab, UNSETTLED), warmup_cap_s=3.0))


def put_runtime(lab: Lab, factor: str) -> str:
    """A layer whose runtime is the real one, made slower by a factor that changes."""
    package = lab.work / "layers" / LAYER / "onnxruntime"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text(SLOWER.format(factor=factor))
    return LAYER


@dataclass(frozen=True)
class Sensors:
    """A board as a tree of files: a clock for each core, a thermometer and a Raspberry Pi's firmware."""

    root: Path

    def show(self, mhz: float = 1500.0, temperature_c: float = 45.0, throttle_bits: int = 0) -> None:
        for core in os.sched_getaffinity(0):
            folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
            self._write(f"{folder}/scaling_cur_freq", f"{1000 * mhz:.0f}")
        self._write("sys/class/thermal/thermal_zone0/type", "cpu-thermal")
        self._write("sys/class/thermal/thermal_zone0/temp", f"{1000 * temperature_c:.0f}")
        self._write("sys/devices/platform/soc/soc:firmware/get_throttled", f"{throttle_bits:x}")

    def _write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        part.write_text(text + "\n")
        part.rename(file)


@contextmanager
def looking_like(lab: Lab, run: str) -> Iterator[Sensors]:
    """A board that shows plain values."""
    sensors = Sensors(lab.work / "boards" / run)
    sensors.show()
    yield sensors


def plant_clock_drop(lab: Lab, run: str) -> set[str]:
    return plant_within_a_round(lab, run, mhz=1000.0)


def plant_throttling(lab: Lab, run: str) -> set[str]:
    return plant_within_a_round(lab, run, throttle_bits=0x4)


def plant_within_a_round(lab: Lab, run: str, **shown: Any) -> set[str]:
    """The flags of a run whose board shows something else for a moment inside of its second round."""
    with looking_like(lab, run) as sensors:

        def disturb() -> None:
            lab.wait_for(run, "round", 1)
            time.sleep(0.9)
            sensors.show(**shown)
            time.sleep(1.2)
            sensors.show()

        disturbing = threading.Thread(target=disturb)
        disturbing.start()
        events = lab.measure(run, root=sensors.root)
        disturbing.join()
        around = [event["environment"] for event in events if event["event"] == "round"]
        ends = [one[end] for one in around for end in ("before", "after")]
        # Else the ends alone would have told, and nothing is learned of the looks in between.
        assert all(end["freq_mhz"][0] == 1500.0 and end["throttle_bits"] == 0 for end in ends)
        return find_flags(events)


def plant_heat(lab: Lab, run: str) -> set[str]:
    """The flags of a run on a board that was at 40 °C before, and is at 60 °C when nobody uses it."""
    with looking_like(lab, run) as sensors:
        sensors.show(temperature_c=40.0)
        lab.measure(f"{run}-before", root=sensors.root)
        sensors.show(temperature_c=60.0)
        return find_flags(lab.measure(run, root=sensors.root, cooldown_cap_s=2.0))


PLANTS: dict[str, Callable[[Lab, str], set[str]]] = {
    "busy": plant_hog,
    "frequency-dropped": plant_clock_drop,
    "throttled": plant_throttling,
    "hot-start": plant_heat,
    "drift": plant_drift,
    "unsteady": plant_unsettled,
}
"""By the flag that each must raise."""
