"""Whether measurements repeat, and whether comparing them tells the truth: through real runs of the agent.

One model is measured again and again by the `standard` protocol, each time in a run of its own, and between
the runs by a mean of 100 inferences in a fresh process: the spread of both is compared. Then runs measure
copies of that model beside each other, and every pair of a run is compared: equal programs may seldom be
called different. A slowdown is planted by multiplying the samples of one of a pair, so that the noise is that
of the machine. Everything runs on one core.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure, at_least, at_most, build_parser, fact, tell
from workers import Samples, write_task

from device_agent import protocol
from device_agent.journal import unpack_samples
from host.fleet.agent_archive import build_agent
from host.ledger.comparing import Difference, compare_latency
from host.ledger.statistics import summarize_latency
from host.specs.measure import Measure

MODEL = (4, 32, 16)
SLOWDOWN = 1.05
STEADIER = 2.0
FALSE_ALARMS = 0.05
FOUND = 0.95
COPIES = 5


@dataclass(frozen=True)
class Lab:
    """Where the agent measures one task, and by which rules."""

    agent: Path
    work: Path
    task: dict[str, Any]
    rules: Measure

    def measure(self, run: str, copies: int) -> list[list[Samples]]:
        """The rounds of each copy of the task, measured beside each other in one run."""
        tasks = [{**self.task, "task": f"copy-{number}"} for number in range(copies)]
        rules = self.rules.model_dump(mode="json", exclude={"preset", "evaluation_images"})
        job = {"schema": protocol.SCHEMA, "run": run, "holder": "repeatability", "seed": 0, "layer": None}
        self._call("put-job", run, stdin=json.dumps({**job, "protocol": rules, "tasks": tasks}))
        self._call("run", run)
        events = [json.loads(line) for line in (self.work / "runs" / run / "journal.jsonl").open()]
        rounds = [event for event in events if event["event"] == "round"]
        return [
            [_unpack(event["samples_ns"]) for event in rounds if event["task"] == task["task"]]
            for task in tasks
        ]

    def loop(self) -> float:
        """What the naive loop prints, in ms."""
        files = [str(self.work / "blobs" / self.task[key]) for key in ("model", "feeds")]
        command = [sys.executable, str(Path(__file__).with_name("naive_loop.py")), *files]
        return float(subprocess.run(command, capture_output=True, check=True).stdout)

    def _call(self, *words: str, stdin: str = "") -> None:
        command = [sys.executable, str(self.agent), "--work", str(self.work), *words]
        subprocess.run(command, input=stdin, capture_output=True, text=True, check=True)


def main() -> int:
    options = build_parser(__doc__).parse_args()
    repeats, runs, rules = (4, 1, Measure(preset="quick")) if options.quick else (20, 10, Measure())
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        lab = Lab(build_agent(work / "cache").path, work, write_task(work, *MODEL), rules)
        figures = [*judge_repeats(lab, repeats), *judge_comparisons(lab, runs)]
    return tell(figures, options.format)


def judge_repeats(lab: Lab, repeats: int) -> list[Figure]:
    """How far repeated measurements spread, and how far the naive loop's means do."""
    medians, means = [], []
    for number in range(repeats):
        medians.append(summarize_latency(lab.measure(f"repeat-{number}", 1)[0]).p50 or 0.0)
        means.append(lab.loop())
    ours, naive = find_spread(medians), find_spread(means)
    return [
        fact("spread of p50, 90 % range", 100 * ours, "%"),
        fact("spread of the naive mean of 100", 100 * naive, "%"),
        at_least("how much steadier p50 is", naive / ours, STEADIER, "times"),
    ]


def find_spread(values: Sequence[float]) -> float:
    """The range that holds the middle 90 % of values, as a share of their median."""
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return float((high - low) / middle)


def judge_comparisons(lab: Lab, runs: int) -> list[Figure]:
    """How often pairs of copies are called different, and how often a planted slowdown is found."""
    pairs = [
        pair
        for number in range(runs)
        for pair in itertools.combinations(lab.measure(f"copies-{number}", COPIES), 2)
    ]
    equal = [compare(first, second) for first, second in pairs]
    slowed = [compare(first, [samples * SLOWDOWN for samples in second]) for first, second in pairs]
    alarms = [one.verdict in ("faster", "slower") for one in equal]
    return [
        fact("A/A comparisons", len(pairs)),
        at_most("A/A called different", float(np.mean(alarms)), FALSE_ALARMS),
        fact("widest A/A difference", 100 * max(abs(one.ratio - 1) for one in equal), "%"),
        at_least("planted 5 % found", float(np.mean([one.verdict == "slower" for one in slowed])), FOUND),
    ]


def compare(first: list[Samples], second: list[Any]) -> Difference:
    found = compare_latency(first, second, interleaved=True)
    assert found is not None
    return found


def _unpack(packed: str) -> Samples:
    return np.array(unpack_samples(packed), dtype=np.int64)


if __name__ == "__main__":
    sys.exit(main())
