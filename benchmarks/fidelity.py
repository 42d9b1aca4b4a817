"""What the agent's worker reports beside a bare loop around the same session, and what its loop costs.

The worker is the real one: `agent.pyz worker`, asked through its command pipe as a run asks it, on a single
core. Between its rounds the same process runs rounds of a bare loop (bare_inside.py), in ABBA order: where a
process happens to lie in memory moves its latency by several per cent, and so both lie in the same place.
What neighbouring rounds say is compared, since the machine is not as fast now as it was a minute ago.

Then the worker is held against a process that holds nothing but such a loop (bare_loop.py), by many pairs of
fresh processes. Their difference is told with its 95 % interval, which is the wider the more processes of
one program differ. Memory is read from /proc at the same stage of both, after their last round.

The cost of the loop itself is what one turn of it takes around an inference that does nothing, less two
readings of the clock.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import tempfile
from array import array
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure, at_most, below, build_parser, fact, tell
from workers import Process, Samples, write_task

from device_agent import timing
from host.fleet.agent_archive import build_agent
from host.ledger.statistics import LatencySummary, student_quantile, summarize_latency
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
"""A round of theirs takes ten seconds, for its samples."""


@dataclass(frozen=True)
class Settings:
    """Fresh processes and rounds in each: of the worker with a loop inside, and of pairs of processes."""

    inside: int
    inside_rounds: int
    pairs: int
    pair_rounds: int
    round_s: float


QUICK, QUICK_SLOW = Settings(1, 4, 2, 2, 0.1), Settings(1, 2, 2, 1, 0.3)
EARNEST, EARNEST_SLOW = Settings(4, 20, 12, 4, 0.15), Settings(2, 6, 4, 1, 1.0)


@dataclass(frozen=True)
class Bench:
    """What one model is measured with."""

    agent: Path
    work: Path
    task: dict[str, Any]
    core: int
    settings: Settings


@dataclass(frozen=True)
class Rounds:
    """The rounds that the agent told, and those of a bare loop that lay beside them in time."""

    told: list[Samples]
    bare: list[Samples]

    def find_changes(self) -> list[float]:
        """The logarithm of how many times the bare median the agent's is, for each pair of neighbours."""
        pairs = zip(self.told, self.bare, strict=True)
        return [math.log(float(np.median(told)) / float(np.median(bare))) for told, bare in pairs]


@dataclass(frozen=True)
class Pair:
    """The rounds of a worker and of another process, and the memory in MiB that the worker had more."""

    rounds: Rounds
    added: dict[str, float]


def main() -> int:
    options = build_parser(__doc__).parse_args()
    plain, slow = (QUICK, QUICK_SLOW) if options.quick else (EARNEST, EARNEST_SLOW)
    core = max(os.sched_getaffinity(0))
    figures = measure_cost()
    with tempfile.TemporaryDirectory() as name:
        agent = build_agent(Path(name) / "cache").path
        for label, shape in MODELS.items():
            task = write_task(Path(name), *shape)
            settings = slow if label in SLOW_MODELS else plain
            figures += compare_model(label, Bench(agent, Path(name), task, core, settings))
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
    """What the agent reports for one model, and how far that is from a bare loop: inside, and apart."""
    settings = bench.settings
    inside = [measure_inside(bench) for _ in range(settings.inside)]
    told = summarize_latency([one for rounds in inside for one in rounds.told])
    bare = summarize_latency([one for rounds in inside for one in rounds.bare])
    # The median of neighbours: a neighbour's spell that hits one of two rounds is nothing that the agent did.
    change = statistics.median(change for rounds in inside for change in rounds.find_changes())
    figures = [
        fact(f"{label}: p50 of the bare loop", bare.p50, "ms"),
        fact(f"{label}: p50 that the agent reports", told.p50, "ms"),
        at_most(f"{label}: difference", 100 * abs(math.expm1(change)), DEVIATION_LIMIT, "%"),
        at_most(f"{label}: p99 above that of the bare loop", find_tail(told, bare), TAIL_LIMIT, "times"),
    ]
    pairs = [measure_pair(bench, number) for number in range(settings.pairs)]
    apart, reach = find_change([statistics.median(pair.rounds.find_changes()) for pair in pairs])
    figures.append(fact(f"{label}: difference of processes apart", apart, "%"))
    figures.append(fact(f"{label}:   give or take", reach, "%"))
    for name in ("VmRSS", "VmHWM", "Pss"):
        middle = statistics.median(pair.added[name] for pair in pairs)
        figures.append(below(f"{label}: {name} above the bare loop", middle, MEMORY_LIMIT_MIB, "MiB"))
    return figures


def find_change(logarithms: list[float]) -> tuple[float, float]:
    """Mean of logarithms of ratios and the reach of its 95 % interval, both in per cent."""
    error = statistics.stdev(logarithms) / math.sqrt(len(logarithms))
    reach = student_quantile(len(logarithms) - 1) * error
    return 100 * math.expm1(statistics.mean(logarithms)), 100 * math.expm1(reach)


def find_tail(told: LatencySummary, bare: LatencySummary) -> float | None:
    return None if told.p99 is None or bare.p99 is None else told.p99 / bare.p99


def measure_inside(bench: Bench) -> Rounds:
    """The rounds of a fresh worker, and between them those of a loop in the same process."""
    script = str(Path(__file__).with_name("bare_inside.py"))
    with Process([script, str(bench.agent), "--work", str(bench.work), "worker"], bench.core) as worker:
        open_worker(worker, bench)
        worker.ask(do="bare", seconds=bench.settings.round_s)  # makes its buffer
        return alternate(
            bench.settings.inside_rounds,
            worker.measure_round,
            lambda: worker.measure_round(do="bare", seconds=bench.settings.round_s),
        )


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
        open_worker(worker, bench)
        loop.ask(do="open", seconds=bench.settings.round_s)
        rounds = alternate(bench.settings.pair_rounds, worker.measure_round, loop.measure_round)
        memory, plain = worker.read_memory(), loop.read_memory()
    return Pair(rounds, {name: memory[name] - plain[name] for name in memory})


def open_worker(worker: Process, bench: Bench) -> None:
    """Bring a worker to where its first round would be asked for."""
    rules = Measure(round_s=bench.settings.round_s).model_dump(mode="json")
    worker.ask(do="open", task=bench.task, protocol=rules, layer=None)
    worker.ask(do="memory")


def alternate(count: int, measure_told: Callable[[], Samples], measure_bare: Callable[[], Samples]) -> Rounds:
    """So many rounds of both, in ABBA order, so that drift cancels."""
    rounds = Rounds([], [])
    for number in range(count):
        both = [(rounds.told, measure_told), (rounds.bare, measure_bare)]
        for kept, measure in both if number % 2 == 0 else reversed(both):
            kept.append(measure())
    return rounds


if __name__ == "__main__":
    sys.exit(main())
