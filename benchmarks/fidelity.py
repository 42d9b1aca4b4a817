"""What the agent's worker reports beside a bare loop around the same session, and what its loop costs.

Both are processes of their own, pinned to the same single core, and open the same file with the same
settings and the same feeds. The worker is the real one: `agent.pyz worker`, asked through its command pipe
as a run asks it. The other one holds nothing but a loop (bare_loop.py). Their rounds alternate in ABBA order,
so that drift cancels, and the pooled percentiles are compared: the agent's as the ledger computes them. Where
a process happens to lie in memory moves its latency, so each model is measured by several pairs of processes.
Memory is read from /proc at the same stage of both, after their last round.

The cost of the loop itself is what one turn of it takes around an inference that does nothing, less two
readings of the clock.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from array import array
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures import Figure, at_most, below, build_parser, fact, tell
from workers import Process, Samples, write_task

from device_agent import timing
from host.fleet.agent_archive import build_agent
from host.ledger.statistics import LatencySummary, summarize_latency
from host.specs.measure import Measure

DEVIATION_LIMIT = 1.0
TAIL_LIMIT = 1.1
MEMORY_LIMIT_MIB = 5.0
COST_LIMIT_US = 1.0
COST_ROUNDS = 15
MODELS = {
    "conv 16×16×16": (2, 16, 16),
    "conv 32×16×16": (4, 32, 16),
    "conv 64×24×24": (4, 64, 24),
    "conv 64×32×32": (6, 64, 32),
    "conv 64×96×96": (8, 64, 96),
}
"""Layers, channels and extent of each model: from a twentieth of a millisecond to fifty."""
SLOW_MODELS = ("conv 64×96×96",)
"""They need longer rounds for the samples of a p99."""


@dataclass(frozen=True)
class Settings:
    pairs: int
    rounds: int
    round_s: float
    slow_round_s: float


@dataclass(frozen=True)
class Bench:
    """What one model is measured with."""

    agent: Path
    work: Path
    task: dict[str, Any]
    core: int
    settings: Settings
    round_s: float


@dataclass(frozen=True)
class Pair:
    """The rounds of a worker and of a loop, and the memory in MiB that the worker had more."""

    told: list[Samples]
    bare: list[Samples]
    added: dict[str, float]


def main() -> int:
    options = build_parser(__doc__).parse_args()
    settings = Settings(1, 4, 0.1, 0.3) if options.quick else Settings(4, 12, 0.15, 1.0)
    core = max(os.sched_getaffinity(0))
    figures = measure_cost()
    with tempfile.TemporaryDirectory() as name:
        agent = build_agent(Path(name) / "cache").path
        for label, shape in MODELS.items():
            task = write_task(Path(name), *shape)
            round_s = settings.slow_round_s if label in SLOW_MODELS else settings.round_s
            figures += compare_model(label, Bench(agent, Path(name), task, core, settings, round_s))
    return tell(figures, options.format)


def measure_cost() -> list[Figure]:
    """What a turn of the timed loop takes beside the inference and two readings of the clock."""
    buffer = array("Q", bytes(8 * 100_000))
    turns, readings = [], []
    for _ in range(COST_ROUNDS):
        count, seconds = timing.time_round(lambda _feed: None, [{}], buffer, 60.0, len(buffer))
        turns.append(1e6 * seconds / count)
        readings.append(time_readings(len(buffer)))
    cost, two = statistics.median(turns), statistics.median(readings)
    return [
        fact("two readings of the clock", two, "us"),
        at_most("a turn of the loop above them", cost - two, COST_LIMIT_US, "us"),
    ]


def time_readings(count: int) -> float:
    """Microseconds that two readings of the clock take, in a loop of its own."""
    clock = timing.clock_ns
    begin = clock()
    for _ in range(count):
        clock()
        clock()
    return (clock() - begin) / count / 1e3


def compare_model(label: str, bench: Bench) -> list[Figure]:
    """What the agent reports for one model, and how far that is from the bare loop."""
    pairs = [measure_pair(bench, number) for number in range(bench.settings.pairs)]
    told = summarize_latency([one for pair in pairs for one in pair.told])
    bare = summarize_latency([one for pair in pairs for one in pair.bare])
    figures = [
        fact(f"{label}: p50 of the bare loop", bare.p50, "ms"),
        fact(f"{label}: p50 that the agent reports", told.p50, "ms"),
        at_most(f"{label}: difference", find_deviation(told, bare), DEVIATION_LIMIT, "%"),
        at_most(f"{label}: p99 above that of the bare loop", find_tail(told, bare), TAIL_LIMIT, "times"),
    ]
    for name in ("VmRSS", "VmHWM", "Pss"):
        middle = statistics.median(pair.added[name] for pair in pairs)
        figures.append(below(f"{label}: {name} above the bare loop", middle, MEMORY_LIMIT_MIB, "MiB"))
    return figures


def find_deviation(told: LatencySummary, bare: LatencySummary) -> float | None:
    return None if told.p50 is None or bare.p50 is None else 100 * abs(told.p50 / bare.p50 - 1)


def find_tail(told: LatencySummary, bare: LatencySummary) -> float | None:
    return None if told.p99 is None or bare.p99 is None else told.p99 / bare.p99


def measure_pair(bench: Bench, pair: int) -> Pair:
    """The rounds of a fresh pair of processes; which starts first alternates, and so do their rounds."""
    files = [str(bench.work / "blobs" / bench.task[key]) for key in ("model", "feeds")]
    commands = {
        "worker": [str(bench.agent), "--work", str(bench.work), "worker"],
        "loop": [str(Path(__file__).with_name("bare_loop.py")), *files],
    }
    names = list(commands) if pair % 2 == 0 else [*reversed(commands)]
    with ExitStack() as running:
        both = {name: running.enter_context(Process(commands[name], bench.core)) for name in names}
        worker, loop = both["worker"], both["loop"]
        rules = Measure(round_s=bench.round_s).model_dump(mode="json")
        worker.ask(do="open", task=bench.task, protocol=rules, layer=None)
        worker.ask(do="memory")
        loop.ask(do="open", seconds=bench.round_s)
        rounds: dict[str, list[Samples]] = {"worker": [], "loop": []}
        for number in range(bench.settings.rounds):
            for name in ("worker", "loop") if number % 2 == 0 else ("loop", "worker"):
                rounds[name].append(both[name].measure_round())
        memory, plain = worker.read_memory(), loop.read_memory()
    return Pair(rounds["worker"], rounds["loop"], {name: memory[name] - plain[name] for name in memory})


if __name__ == "__main__":
    sys.exit(main())
