"""The measurement of one task, put together from what its worker told and what its rounds recorded."""

from typing import Any, Dict, Optional

from device_agent.board_root import is_disguised
from device_agent.journal import read_task, unpack_samples
from device_agent.supervision import WorkerProcess
from device_agent.validity import find_flags

Fields = Dict[str, Any]


_OF_OPENING = ("threads", "runtime_version", "build_s", "load_ms", "first_inference_ms")
_OF_END = ("provider", "nodes", "settings", "compute_ms", "accuracy", "agreement", "max_abs_diff")


class Opened:
    """A task whose worker waits for commands, with what it told when it was opened."""

    def __init__(self, task: Fields, worker: WorkerProcess, told: Fields, start_c: Optional[float]) -> None:
        self.task = task
        self.worker = worker
        self.told = told
        self.start_c = start_c
        self.size_mb = told["memory_mb"]["peak"] or told["memory_mb"]["loaded"] or 0.0


def summarize_task(journal: str, opened: Opened, found: Fields, idle_c: Optional[float]) -> Fields:
    """The measurement of one task, from its rounds in the journal: also those of an earlier start."""
    told = opened.told
    starts, rounds = read_task(journal, opened.task["task"])
    environments = [one["environment"] for one in rounds]
    flags = find_flags(
        rounds=[unpack_samples(one["samples_ns"]) for one in rounds],
        environments=environments,
        is_steady=all(one["warmup"]["steady"] for one in rounds),
        is_fallback=found["is_fallback"],
        start_c=opened.start_c,
        idle_c=idle_c,
    )
    measurement = {key: told[key] for key in _OF_OPENING}
    measurement.update({key: found[key] for key in _OF_END})
    measurement["started_at"] = starts[0]["wall"]
    measurement["memory_mb"] = told["memory_mb"]
    measurement["environment"] = {
        "before": environments[0]["before"],
        "after": environments[-1]["after"],
        "versions": found["versions"],
    }
    measurement["flags"] = flags + (["emulated"] if is_disguised() else [])
    return measurement
