"""The host's side of `fleet.py`, in a process of its own that measures itself.

    python benchmarks/bare_fleet.py WORKSPACE sweep NAME…       one sweep of a tiny model
    python benchmarks/bare_fleet.py WORKSPACE follow S NAME…    quiet runs that are followed for S seconds

One line of JSON on standard output.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from device_agent.memory import parse_status
from host.compress.onnx_files import read_onnx
from host.errands import Errand, plan_errands
from host.fleet.boards import Chosen, ready_board
from host.fleet.following import follow_run, stop_run
from host.fleet.journal import Event, TaskProgress
from host.ledger.store import Ledger
from host.plan import plan_file
from host.progress import Silent
from host.specs.measure import Measure
from host.specs.profile import RuntimeSettings
from host.sweep import Place, run_file
from host.workspace import Workspace

TINY = Measure.model_validate(
    {
        "rounds": 1,
        "round_s": 0.01,
        "round_samples": 1,
        "warmup_s": 0,
        "warmup_inferences": 1,
        "warmup_cap_s": 0.05,
        "steady_window": 4,
        "steady_tolerance": 0.99,
        "cooldown_cap_s": 0,
        "power_window_s": 0.01,
        "evaluation_images": 1,
    }
)
QUIET = TINY.model_copy(
    update={"scenario": "paced", "rate_hz": 0.005, "deadline_ms": 1000.0, "round_samples": 5, "rounds": 2}
)
"""An inference every 200 s: the boards have nothing to say, and their cores rest."""

RUNTIME = RuntimeSettings(threads=1)


def main() -> int:
    workspace, task = Workspace(Path(sys.argv[1])), sys.argv[2]
    if task == "sweep":
        told = sweep(workspace, sys.argv[3:])
    else:
        told = follow(workspace, float(sys.argv[3]), sys.argv[4:])
    print(json.dumps(told))
    return 0


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_mb() -> float:
    return parse_status(Path("/proc/self/status").read_text(), "VmRSS") or 0.0


def sweep(workspace: Workspace, names: Sequence[str]) -> dict[str, Any]:
    """What a sweep over these boards cost this process, and what the ledger holds of it."""
    with Ledger.open(workspace.ledger_url) as ledger:
        began, used = time.monotonic(), cpu_s()
        outcome = run_file(
            workspace.root / "tiny.onnx", {}, names, [RUNTIME], TINY, Place(workspace, ledger, Silent())
        )
        found = ledger.measurements(outcome.run)
        return {
            "wall_s": time.monotonic() - began,
            "cpu_s": cpu_s() - used,
            "ok": sum(one.status == "ok" for one in found),
            "boards": len({one.device for one in found}),
            "run": outcome.run,
            "errors": {name: str(error) for name, error in outcome.errors.items()},
        }


def follow(workspace: Workspace, seconds: float, names: Sequence[str]) -> dict[str, Any]:
    """What this process takes while all boards are followed, above what it takes with the first of them."""
    errands = [plan_errand(workspace, name) for name in names]
    with following(errands[:1]):
        first_mb = resident_mb()
        with following(errands[1:]):
            time.sleep(2)
            used, began = cpu_s(), time.monotonic()
            time.sleep(seconds)
            share = (cpu_s() - used) / (time.monotonic() - began)
            grown_mb = resident_mb() - first_mb
    return {"cpu_share": share / len(names), "mb": grown_mb / (len(names) - 1)}


def plan_errand(workspace: Workspace, name: str) -> Errand:
    artifact = read_onnx(workspace.root / "tiny.onnx", {})
    plan = plan_file(artifact, {}, [name], [RUNTIME], QUIET)
    board = ready_board(Chosen(name=name, cpus=1), [RUNTIME], workspace, Silent())
    with board.connect():
        pass
    run = f"quiet-{time.time_ns()}"
    (errand,) = plan_errands(run, plan, plan.tasks, [board], {artifact.variant_id: artifact}, workspace.cache)
    return errand


@contextmanager
def following(errands: Sequence[Errand]) -> Iterator[None]:
    """Runs that are followed within the block, once all of them are in their quiet round."""
    quiet = threading.Semaphore(0)

    def hear(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.phase == "warming":
            quiet.release()

    threads = [threading.Thread(target=follow_quiet, args=(errand, hear), daemon=True) for errand in errands]
    for thread in threads:
        thread.start()
    for _ in threads:
        if not quiet.acquire(timeout=300):
            sys.exit("a board does not measure")
    try:
        yield
    finally:
        for errand in errands:
            with errand.board.connect() as remote:
                stop_run(remote, errand.board.device, errand.board.agent, errand.job.run)
        for thread in threads:
            thread.join(60)


def follow_quiet(errand: Errand, hear: Any) -> None:
    from host.measuring import send_errand

    send_errand(errand, Silent())
    board = errand.board
    follow_run(board.connect, board.device, board.agent, errand.job, hear, Silent())


if __name__ == "__main__":
    sys.exit(main())
