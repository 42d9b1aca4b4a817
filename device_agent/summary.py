"""The measurement of one task, put together from what its worker told and what its rounds recorded."""

import functools
import operator
from typing import Any, Callable, Dict, Optional, Sequence

from device_agent import protocol
from device_agent.board_root import is_disguised
from device_agent.journal import read_task, unpack_samples
from device_agent.supervision import WorkerProcess
from device_agent.validity import find_flags

Fields = Dict[str, Any]


_ON_GPU = ("GPU", "CUDA", "Tensorrt")
_OF_OPENING = ("threads", "runtime_version", "build_s", "load_ms", "first_inference_ms")
_OF_END = ("provider", "nodes", "settings", "compute_ms", "accuracy", "agreement", "max_abs_diff")


class Opened:
    """A task whose worker waits for commands, with what it told when it was opened."""

    def __init__(self, task: Fields, worker: WorkerProcess, told: Fields) -> None:
        self.task = task
        self.worker = worker
        self.told = told
        memory = told["memory_mb"]
        self.size_mb = memory["peak"] or memory["loaded"] or 0.0
        if is_on_gpu(told["provider"]):  # a Jetson's GPU fills the board's memory beside the process
            fall_mb = memory.get("available_fall") or 0.0
            self.size_mb = max(self.size_mb, (memory["baseline"] or 0.0) + fall_mb)


def is_on_gpu(provider: str) -> bool:
    return any(word in provider for word in _ON_GPU)


def summarize_task(journal: str, opened: Opened, found: Fields, rules: Fields) -> Fields:
    """The measurement of one task, from its rounds in the journal: also those of an earlier start."""
    told = opened.told
    starts, rounds = read_task(journal, opened.task["task"])
    environments = [one["environment"] for one in rounds]
    flags = find_flags(
        rounds=[unpack_samples(one["samples_ns"]) for one in rounds],
        environments=environments,
        is_steady=all(one["warmup"]["steady"] for one in rounds),
        is_fallback=found["is_fallback"],
        # A camera's pace or an accelerator's work lets the processor rest between inferences.
        is_resting=rules.get("scenario") == protocol.PACED or told["threads"] is None,
        uses_gpu=is_on_gpu(found["provider"]),
    )
    measurement = {key: told[key] for key in _OF_OPENING}
    measurement.update({key: found[key] for key in _OF_END})
    measurement["started_at"] = starts[0]["wall"]
    measurement["memory_mb"] = told["memory_mb"]
    measurement["environment"] = {
        "rest": environments[0].get("rest"),
        "before": environments[0]["before"],
        "during": join_during([one.get("during") for one in environments]),
        "after": environments[-1]["after"],
        "versions": found["versions"],
    }
    measurement["flags"] = flags + (["emulated"] if is_disguised() else [])
    return measurement


def join_during(looks: Sequence[Optional[Fields]]) -> Fields:
    """What was seen while any of the rounds was measured; None where nothing was looked at, or told."""
    told = [one for one in looks if one is not None]

    def pick(key: str, choose: Callable[[Sequence[float]], float]) -> Optional[float]:
        values = [one[key] for one in told if one.get(key) is not None]
        return choose(values) if values else None

    return {
        "samples": sum(one["samples"] for one in told),
        "lowest_mhz": pick("lowest_mhz", min),
        "highest_mhz": pick("highest_mhz", max),
        "gpu_mhz": pick("gpu_mhz", min),
        "temperature_c_max": pick("temperature_c_max", max),
        "throttle_bits": pick("throttle_bits", lambda bits: functools.reduce(operator.or_, bits)),
    }
