"""How the store of results does with 100,000 and with 1,000,000 measurements, and with four writers at once.

`bench results` runs as a process of its own, for one run of a thousand measurements, with filters, with a
pivot and over everything; its wall time and the memory at its peak count. Then four processes save at the
same time measurements with samples of five rounds, once more while one of them is killed, and it is counted
what the ledger holds. `--postgresql URL` has them save to that server too.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from bench_command import find_bench
from commands import make_measurement
from figures import Figure, at_least, at_most, build_parser, fact, tell
from sqlalchemy import insert

from host.ledger.records import (
    RunRecord,
    figure_values,
    measurement_values,
    plan_values,
    round_values,
    run_values,
)
from host.ledger.schema import figures as figure_rows
from host.ledger.schema import measurements, plans, runs, samples
from host.ledger.statistics import summarize_latency
from host.ledger.store import Ledger
from host.workspace import Workspace

START = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
PER_RUN = 1000
KINDS = 40
"""So many different sets of samples are made; measurements take turns."""
BATCH = 2000
WRITERS = 4
LIMIT_MB = 500.0
REPEATS = 3


@dataclass(frozen=True)
class Call:
    """One finished command."""

    code: int
    seconds: float
    mb: float
    said: str


def main() -> int:
    parser = build_parser(__doc__)
    parser.add_argument("--postgresql", metavar="URL", help="Save to this server too; it is written to.")
    parser.add_argument("--write", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        return write_measurements(*options.write)
    small, large = (10_000, 100_000) if options.quick else (100_000, 1_000_000)
    seconds = 2.0 if options.quick else 6.0
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        few = time_commands(root / "small", small, figures)
        compare_sizes(few, time_commands(root / "large", large, figures), large // small, figures)
        figures += time_writers(f"sqlite:///{root / 'written.sqlite'}", "SQLite", seconds)
        figures += kill_writer(f"sqlite:///{root / 'killed.sqlite'}", "SQLite", seconds)
    if options.postgresql:
        figures += time_writers(options.postgresql, "PostgreSQL", seconds)
    return tell(figures, options.format)


COMMANDS = {
    "--run R": ("--run", "run-0003"),
    "--run R --format json": ("--run", "run-0003", "--format", "json"),
    "--all --device D --format csv": ("--all", "--device", "board-0007", "--format", "csv"),
    "--all --variant V": ("--all", "--variant", "variant-7"),
    "--all --pivot p50": ("--all", "--pivot", "p50"),
    "--all --format csv": ("--all", "--format", "csv"),
}
LIMITS = {
    "--run R": 1.0,
    "--run R --format json": 1.0,
    "--all --device D --format csv": 2.0,
    "--all --variant V": 2.0,
    "--all --pivot p50": 2.0,
}


def time_commands(root: Path, count: int, figures: list[Figure]) -> dict[str, Call]:
    """The middle one of the calls of each command over a ledger of so many measurements."""
    root.mkdir()
    (root / "devices.yaml").write_text("devices: {}\n")
    began = time.perf_counter()
    fill_ledger(Workspace(root).ledger_url, count)
    figures.append(fact(f"filled with {count}", time.perf_counter() - began, "s"))
    is_bounded = count == 100_000
    found = {}
    for label, words in COMMANDS.items():
        calls = [call_bench(root, "results", *words, "--output", "told") for _ in range(REPEATS)]
        call = found[label] = sorted(calls, key=lambda call: call.seconds)[REPEATS // 2]
        name = f"bench results {label}, {count}"
        figures += [
            at_most(f"{name}: exit code ({one.said[-60:]})", one.code, 0) for one in calls if one.code
        ]
        if is_bounded and label in LIMITS:
            figures.append(at_most(name, call.seconds, LIMITS[label], "s"))
            figures.append(at_most("  its memory", call.mb, LIMIT_MB, "MB"))
        else:
            figures.append(fact(name, call.seconds, "s"))
            figures.append(fact("  its memory", call.mb, "MB"))
    return found


def compare_sizes(few: dict[str, Call], many: dict[str, Call], times: int, figures: list[Figure]) -> None:
    """Time grows with the number of measurements at most."""
    for label, call in many.items():
        growth = call.seconds / few[label].seconds
        figures.append(at_most(f"{label}: {times} times as many take", growth, times, "times"))


def call_bench(root: Path, *words: str) -> Call:
    """Run `bench` in a workspace, and learn its peak of memory."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([find_bench(), *words], cwd=root, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        return Call(
            process.returncode, seconds, 1024 * usage.ru_maxrss / 1e6, said.read().decode(errors="replace")
        )


def fill_ledger(url: str, count: int) -> None:
    """So many valid measurements in runs of a thousand, each variant on twenty devices, inserted in bulk."""
    random = np.random.default_rng(0)
    kinds = []
    for kind in range(KINDS):
        scatter = np.exp(0.01 * random.standard_normal((3, 24)))
        rounds = [np.rint(5e6 / (1 + kind % 5) * line).astype(np.int64) for line in scatter]
        kinds.append((rounds, summarize_latency(rounds).model_dump(mode="json")))
    with Ledger.open(url) as ledger:
        for run in range(count // PER_RUN):
            record = make_run(f"run-{run:04}", run)
            told = [make_measurement(record.id, f"{at:016x}", at).as_json() for at in range(PER_RUN)]
            rows: list[tuple[Any, list[dict[str, Any]]]] = [
                (runs, [run_values(record)]),
                (plans, [plan_values(record)]),
                (measurements, []),
                (figure_rows, []),
                (samples, []),
            ]
            for at, held in enumerate(told):
                rounds, summary = kinds[at % KINDS]
                text = json.dumps(held, separators=(",", ":"))
                rows[2][1].append(measurement_values(held, text, summary))
                rows[3][1].append(figure_values(held, summary, at))
                rows[4][1].extend(round_values(record.id, held["task"], rounds))
            with ledger.access.writing() as connection:
                for table, values in rows:
                    connection.execute(insert(table), values)


def make_run(run: str, hours: int, tasks: int = PER_RUN) -> RunRecord:
    return RunRecord(
        id=run,
        profile="p",
        plan={"tasks": [{"id": f"{at:016x}"} for at in range(tasks)]},
        status="completed",
        started_at=START + timedelta(hours=hours),
        finished_at=START + timedelta(hours=hours, minutes=50),
    )


def write_measurements(url: str, run: str, writer: str, seconds: str) -> int:
    """One writer: save for so many seconds after the word to begin, and say what was saved."""
    random = np.random.default_rng(int(writer))
    scatter = np.exp(0.01 * random.standard_normal((5, 200)))
    rounds = [np.rint(5e6 * line).astype(np.int64) for line in scatter]
    with Ledger.open(url) as ledger:
        ledger.runs()
        print("ready", flush=True)
        sys.stdin.readline()
        end = time.monotonic() + float(seconds)
        for number in count_up():
            if time.monotonic() > end:
                break
            if ledger.save(make_measurement(run, f"{writer}-{number}", number), rounds):
                print(f"{writer}-{number}", flush=True)
    return 0


def count_up() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def start_writers(url: str, seconds: float) -> list[subprocess.Popen[str]]:
    """Four processes that wait for the word to begin."""
    with Ledger.open(url) as ledger:
        ledger.start_run(make_run("written", 0, tasks=0))
    words = [sys.executable, __file__, "--write", url, "written"]
    writers = [
        subprocess.Popen(
            [*words, str(number), str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for number in range(WRITERS)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    return writers


def begin(writers: Sequence[subprocess.Popen[str]]) -> None:
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("begin\n")
        writer.stdin.flush()


def collect(writers: Sequence[subprocess.Popen[str]]) -> set[str]:
    """The tasks that the writers said are saved; a writer that was killed may have been within a word."""
    said = [writer.communicate()[0] for writer in writers]
    return {line for told in said for line in told.rpartition("\n")[0].splitlines()}


def time_writers(url: str, kind: str, seconds: float) -> list[Figure]:
    """How many measurements a second four writers save together, and whether the ledger holds them all."""
    writers = start_writers(url, seconds)
    began = time.monotonic()
    begin(writers)
    said = collect(writers)
    took = time.monotonic() - began
    lost, doubled = check_held(url, said)
    return [
        at_least(f"saved by {WRITERS} writers, {kind}", len(said) / took, 500, "/s"),
        at_most("  lost", lost, 0),
        at_most("  held twice, or in part", doubled, 0),
    ]


def kill_writer(url: str, kind: str, seconds: float) -> list[Figure]:
    """As `time_writers`, with one of them killed half-way."""
    writers = start_writers(url, seconds)
    begin(writers)
    time.sleep(seconds / 2)
    writers[0].send_signal(signal.SIGKILL)
    said = collect(writers)
    lost, doubled = check_held(url, said)
    return [
        fact(f"saved while one of {WRITERS} is killed, {kind}", len(said)),
        at_most("  lost", lost, 0),
        at_most("  held twice, or in part", doubled, 0),
    ]


def check_held(url: str, said: set[str]) -> tuple[int, int]:
    """How many that were said to be saved the ledger does not hold; how many it holds twice or in part."""
    with Ledger.open(url) as ledger:
        held = [found.task for found in ledger.figures("written")]
        parts = sum(len(ledger.samples("written", task)) != 5 for task in islice(sorted(held), 500))
    return len(said - set(held)), len(held) - len(set(held)) + parts


if __name__ == "__main__":
    sys.exit(main())
