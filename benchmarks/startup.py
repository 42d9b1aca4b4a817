"""How long a worker takes to start beside importing the runtime and opening the model; an idle agent.

A worker counts from the start of its process to its answer to `open`, after its first inference. The other
process imports numpy and ONNX Runtime, opens the same file with the same settings and infers once; both are
pinned to the same core and alternate. The idle agent is the process of a run while its worker measures.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figures import Figure, at_most, build_parser, fact, tell
from workers import Process, write_task

from device_agent import protocol
from device_agent.memory import parse_status
from device_agent.unpacked import provide_program
from device_agent.work_folder import WorkFolder
from host.fleet.agent_archive import build_agent
from host.specs.measure import Measure

RATIO_LIMIT = 1.2
MEMORY_LIMIT_MIB = 20.0
MODEL = (6, 64, 32)
RUN = "idle"


def main() -> int:
    options = build_parser(__doc__).parse_args()
    core = max(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        archive = build_agent(work / "cache").path
        agent = Path(provide_program(WorkFolder(name), str(archive)))
        task = write_task(work, *MODEL)
        figures = compare_starts(agent, work, task, core, pairs=3 if options.quick else 15)
        figures.append(
            at_most("memory of the idle agent", read_idle(agent, work, task), MEMORY_LIMIT_MIB, "MiB")
        )
    return tell(figures, options.format)


def compare_starts(agent: Path, work: Path, task: dict[str, Any], core: int, pairs: int) -> list[Figure]:
    """Both ways in ABBA order; the first pair fills the caches of files and does not count."""
    files = [str(work / "blobs" / task[key]) for key in ("model", "feeds")]
    rules = Measure().model_dump(mode="json")

    def start_worker() -> None:
        with Process([str(agent), "--work", str(work), "worker"], core) as process:
            process.ask(do="open", task=task, protocol=rules, layer=None)

    def start_bare() -> None:
        with Process([str(Path(__file__).with_name("bare_open.py")), *files], core) as process:
            process.ask(do="open")

    taken: dict[str, list[float]] = {"worker": [], "bare": []}
    ways: dict[str, Callable[[], None]] = {"worker": start_worker, "bare": start_bare}
    for number in range(pairs + 1):
        for name in ("worker", "bare") if number % 2 else ("bare", "worker"):
            begin = time.perf_counter()
            ways[name]()
            taken[name].append(time.perf_counter() - begin)
    worker, bare = (statistics.median(taken[name][1:]) for name in ("worker", "bare"))
    return [
        fact("import, open and infer once", bare, "s"),
        fact("a worker's start", worker, "s"),
        at_most("a worker's start", worker / bare, RATIO_LIMIT, "times"),
    ]


def read_idle(agent: Path, work: Path, task: dict[str, Any]) -> float | None:
    """Resident memory in MiB of the process of a run, in the middle of its first round."""
    rules = Measure(rounds=1, round_s=60).model_dump(mode="json", exclude={"preset", "evaluation_images"})
    job = {"schema": protocol.SCHEMA, "run": RUN, "holder": "startup", "seed": 0, "layer": None}
    call(agent, work, "put-job", RUN, stdin=json.dumps({**job, "protocol": rules, "tasks": [task]}))
    call(agent, work, "start", RUN)
    try:
        wait_for_round(work)
        holder = json.loads(call(agent, work, "status"))["holder"]
        return parse_status(Path(f"/proc/{holder['pid']}/status").read_text(), "VmRSS")
    finally:
        call(agent, work, "stop", RUN)


def call(agent: Path, work: Path, *words: str, stdin: str = "") -> str:
    command = [sys.executable, "-S", str(agent), "--work", str(work), *words]
    if words[0] == "start":
        command.remove("-S")
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def wait_for_round(work: Path, patience_s: float = 60.0) -> None:
    journal = work / "runs" / RUN / "journal.jsonl"
    deadline = time.monotonic() + patience_s
    while '"warming"' not in journal.read_text():
        if time.monotonic() > deadline:
            raise TimeoutError("the run did not come to its first round")
        time.sleep(0.1)
    time.sleep(3)  # past the warm-up


if __name__ == "__main__":
    sys.exit(main())
