"""Energy per inference beside a power that is known, and what reading a sensor costs the load.

First in simulation: many boards and sensors, each drawn anew, go through the arithmetic of the power pass.
Then for real: a tree of /sys with an INA3221 whose current another thread moves as the load does, in steps of
40 mW and with noise; a worker of the agent that computes; the sampling process; and the pass of a run.
What the worker draws is made up; that it computes lets the same passes tell the sampler's effect on a load.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fidelity import write_task
from figures import Figure, at_most, build_parser, fact, tell
from simulated_power import STEP_W, simulate_pass

from device_agent.power import find_source
from device_agent.power_pass import Pass, find_effect, measure_power
from device_agent.supervision import Wakeup, WorkerProcess
from device_agent.watching import Watch
from host.fleet.agent_archive import build_agent
from host.specs.measure import Measure

ERROR_LIMIT = 2.0
EFFECT_LIMIT = 2.0
IDLE_W, LOAD_W, RIPPLE_W, NOISE_W = 3.0, 8.0, 1.5, 0.03
RENEWED_S = 0.007
VOLTS = 5.0


@dataclass(frozen=True)
class Settings:
    seeds: int
    passes: int
    window_s: float


class Module:
    """An INA3221 in a tree of /sys, whose one rail a thread moves: ripple, noise and steps."""

    def __init__(self, root: Path) -> None:
        folder = root / "sys/class/hwmon/hwmon3"
        folder.mkdir(parents=True)
        for name, text in {
            "name": "ina3221",
            "in1_label": "VDD_IN",
            "in1_input": f"{VOLTS * 1e3:.0f}",
        }.items():
            (folder / name).write_text(f"{text}\n")
        self._file = os.open(folder / "curr1_input", os.O_WRONLY | os.O_CREAT)
        self._random = np.random.default_rng(0)
        self.is_loaded = False
        self._renew()

    def _renew(self) -> None:
        """Written at one go, always as long: a reader never meets half of a value."""
        ripple = RIPPLE_W * (1 if time.monotonic() / 0.05 % 1 < 0.5 else -1)
        watts = LOAD_W + ripple if self.is_loaded else IDLE_W
        told = STEP_W * round((watts + self._random.normal(0, NOISE_W)) / STEP_W)
        os.pwrite(self._file, b"%6d\n" % round(told / VOLTS * 1e3), 0)

    @contextmanager
    def renewing(self) -> Iterator[None]:
        stopped = threading.Event()

        def renew() -> None:
            while not stopped.wait(RENEWED_S):
                self._renew()

        thread = threading.Thread(target=renew)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()


class KnownWorker:
    """The agent's worker, whose load the module knows of; it keeps count of what it was asked."""

    def __init__(self, worker: WorkerProcess, module: Module) -> None:
        self._worker = worker
        self._module = module
        self.pid = worker.pid
        self.paces: list[float] = []

    def ask(self, command: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        self._module.is_loaded = True
        told = self._worker.ask(command, timeout_s)
        self._module.is_loaded = False
        self.paces.append(told["seconds"] / told["inferences"])
        return told


def main() -> int:
    options = build_parser(__doc__).parse_args()
    settings = Settings(100, 1, 2.0) if options.quick else Settings(400, 5, 10.0)
    return tell(simulate(settings) + measure(settings), options.format)


def simulate(settings: Settings) -> list[Figure]:
    """The worst of many drawn boards."""
    errors = [simulate_pass(seed, settings.window_s) for seed in range(settings.seeds)]
    net = [abs(one.net) for one in errors if one.net is not None]
    return [
        fact("simulated boards", settings.seeds),
        at_most("energy, worst of them", 100 * max(abs(one.gross) for one in errors), ERROR_LIMIT, "%"),
        at_most("energy net of idle, worst of them", 100 * max(net), ERROR_LIMIT, "%"),
    ]


def measure(settings: Settings) -> list[Figure]:
    """Real passes over the made-up module, by the real sampling process."""
    with tempfile.TemporaryDirectory() as name:
        module, agent = Module(Path(name)), build_agent(Path(name) / "cache").path
        sys.argv[0] = str(agent)  # the worker is started from it
        wakeup = Wakeup()
        worker = WorkerProcess(name, str(Path(name) / "worker.log"), wakeup, Watch("/"))
        try:
            rules = Measure().model_dump(mode="json")
            task = write_task(Path(name), 4, 32, 16)
            worker.ask({"do": "open", "task": task, "protocol": rules, "layer": None}, 60)
            with module.renewing():
                found = [
                    run_pass(Path(name), worker, module, wakeup, settings) for _ in range(settings.passes)
                ]
        finally:
            worker.end()
    return describe_passes(found)


@dataclass(frozen=True)
class Found:
    """What a pass told, what is true, and seconds per inference in the pieces that tell the effect."""

    told: dict[str, Any]
    paces: list[float]
    gross_mj: float
    net_mj: float


def run_pass(root: Path, worker: WorkerProcess, module: Module, wakeup: Wakeup, settings: Settings) -> Found:
    known = KnownWorker(worker, module)
    source = find_source(str(root))
    assert source is not None
    told = measure_power(Pass(source, known, 1, settings.window_s, 60.0, wakeup))  # type: ignore[arg-type]
    inference_ms = 1e3 * known.paces[1]  # after the first, which only settles
    return Found(told, known.paces[2:], LOAD_W * inference_ms, (LOAD_W - IDLE_W) * inference_ms)


def find_errors(found: list[Found], key: str) -> list[float]:
    """How far each pass that tells this energy is from the true one, in %."""
    true = {"energy_mj": [one.gross_mj for one in found], "energy_net_mj": [one.net_mj for one in found]}[key]
    pairs = [(one.told[key], known) for one, known in zip(found, true, strict=True)]
    return [100 * abs(told / known - 1) for told, known in pairs if told is not None]


def describe_passes(found: list[Found]) -> list[Figure]:
    """A pass that others disturbed tells no energy; without any other there is no figure."""
    gross, net = find_errors(found, "energy_mj"), find_errors(found, "energy_net_mj")
    effects = [one.told["sampler_effect"] for one in found]
    effect = find_effect([pace for one in found for pace in one.paces])
    return [
        fact("passes with a real sampler", len(found)),
        fact("values a second", found[0].told["rate_hz"], "Hz"),
        fact("of them without others beside it", len(gross)),
        at_most("energy, worst of the passes", max(gross, default=None), ERROR_LIMIT, "%"),
        at_most("energy net of idle, worst of the passes", max(net, default=None), ERROR_LIMIT, "%"),
        fact("passes even enough to tell the sampler's effect", sum(one is not None for one in effects)),
        at_most(
            f"effect of the sampler, all passes ({found[0].told['sampler']})",
            None if effect is None else 100 * effect,
            EFFECT_LIMIT,
            "%",
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
