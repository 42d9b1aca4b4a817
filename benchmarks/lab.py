"""Whole runs of the agent on this machine, one task each, and what else was going on meanwhile."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device_agent import protocol
from device_agent.sensors.load import read_busy_ticks
from host.specs.measure import Measure

RULES: dict[str, Any] = {"rounds": 3, "round_s": 3.0, "round_samples": 100}


@dataclass
class Lab:
    """Where the agent measures one task."""

    agent: Path
    work: Path
    task: dict[str, Any]
    others: dict[str, float] = field(default_factory=dict)

    def measure(
        self,
        run: str,
        *,
        root: Path | None = None,
        layer: str | None = None,
        on_start: Callable[[int], None] = lambda _pid: None,
        words: Sequence[str] = (),
        **rules: Any,
    ) -> list[dict[str, Any]]:
        """The journal of one run; `others` then has what share of the machine other processes took."""
        settled = {"round_samples": 100} if "duration_s" in rules else RULES
        told = Measure.model_validate({**settled, "power_window_s": 0.2, **rules})
        asked = told.model_dump(mode="json", exclude={"preset", "evaluation_images"}, exclude_none=True)
        job = {"schema": protocol.SCHEMA, "run": run, "holder": "honesty", "seed": 0, "layer": layer}
        self._call("put-job", run, stdin=json.dumps({**job, "protocol": asked, "tasks": [self.task]}))
        before, own, began = read_ticks(), children_s(), time.monotonic()
        environment = {**os.environ, **({"BOARDBENCH_ROOT": str(root)} if root else {})}
        command = [sys.executable, *words, str(self.agent), "--work", str(self.work), "run", run]
        with subprocess.Popen(command, env=environment) as process:
            on_start(process.pid)
        assert process.returncode == 0
        machine_s = (time.monotonic() - began) * (os.cpu_count() or 1)
        ticks_s = (read_ticks() - before) / os.sysconf("SC_CLK_TCK")
        self.others[run] = max(0.0, ticks_s - (children_s() - own)) / machine_s
        return self.read_journal(run)

    def read_journal(self, run: str) -> list[dict[str, Any]]:
        path = self.work / "runs" / run / "journal.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    def wait_for(self, run: str, phase: str, number: int) -> None:
        """Return when a round is about to begin."""
        while not any(
            event.get("phase") == phase and event.get("round") == number for event in self.read_journal(run)
        ):
            time.sleep(0.05)

    def _call(self, *words: str, stdin: str) -> None:
        command = [sys.executable, str(self.agent), "--work", str(self.work), *words]
        subprocess.run(command, input=stdin, capture_output=True, text=True, check=True)


def read_ticks() -> int:
    ticks = read_busy_ticks("/", range(os.cpu_count() or 1))
    assert ticks is not None
    return ticks


def children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def find_flags(events: list[dict[str, Any]]) -> set[str]:
    """The flags of the only task, without `emulated`."""
    (result,) = [event for event in events if event["event"] == "result"]
    return set(result["measurement"]["flags"]) - {"emulated"}
