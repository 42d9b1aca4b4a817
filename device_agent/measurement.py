"""One measurement inside its own process: open, memory, rounds, load for the power pass, evaluation."""

import functools
import os
import resource
import time
from array import array
from typing import Any, Callable, Dict, List, Optional

from device_agent import memory, protocol, timing
from device_agent.board_root import find_root
from device_agent.environment import read_environment, read_versions, usable_cores
from device_agent.evaluation import evaluate
from device_agent.faults import shorten_text
from device_agent.journal import pack_samples
from device_agent.runtimes.catalogue import RUNTIMES
from device_agent.runtimes.session import Opening, Runtime, RuntimeMissing
from device_agent.sensors.load import read_busy_ticks
from device_agent.validity import median, share_of_others
from device_agent.work_folder import WorkFolder

Fields = Dict[str, Any]

MEMORY_INFERENCES = 10
COMPUTE_INFERENCES = 51
SIGN_OF_LIFE_S = 2.0
_OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate", "out of memory", "BFCArena")


class TaskFailed(Exception):
    """The measurement cannot go on; `kind` is one of the FAILED_ of the protocol."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = shorten_text(message)


class Measurement:
    """The state of one measurement between commands. Every method raises TaskFailed."""

    def __init__(self, folder: WorkFolder, task: Fields, rules: Fields) -> None:
        self._folder = folder
        self._task = task
        self._rules = rules
        self._version = ""
        self._session: Any = None
        self._feeds: List[Any] = []
        self._buffer: Any = None
        self._is_steady: Optional[bool] = None

    def open(self) -> Fields:
        """Load and first inference, timed apart; resident memory before and after."""
        task = self._task
        runtime = load_runtime(task["runtime"])
        self._version = runtime.version
        feeds = self._load_feeds()
        path = self._find_blob("model")
        baseline = memory.read_resident()
        started = timing.clock_ns()
        asked = Opening(
            model=path,
            sha256=task["model"],
            provider=task["provider"],
            threads=task["threads"],
            options=task.get("options", {}),
            feed=feeds[0],
            cache=self._folder.engines,
        )
        self._session = _guard(protocol.FAILED_OPEN, lambda: runtime.open(asked))
        opened = timing.clock_ns()
        loaded = memory.read_resident()
        self._feeds = feeds
        first = timing.clock_ns()
        self._infer(0)
        ended = timing.clock_ns()
        described = self._session.describe()
        return {
            "provider": described.provider,
            "threads": self._session.threads,
            "runtime_version": self._version,
            "build_s": described.build_s,
            "inputs": [dict(one._asdict()) for one in self._session.inputs],
            "load_ms": (opened - started) / 1e6,
            "first_inference_ms": (ended - first) / 1e6,
            "memory_mb": {"baseline": baseline, "loaded": loaded},
        }

    def _find_blob(self, key: str) -> str:
        path = self._folder.blob(self._task[key])
        if not os.path.isfile(path):
            raise TaskFailed(protocol.FAILED_MISSING, "the blob of the {} is not on the board".format(key))
        return path

    def _load_feeds(self) -> List[Any]:
        """The feeds of the timed loop, each a complete set of inputs."""
        import numpy

        try:
            with numpy.load(self._find_blob("feeds")) as loaded:
                arrays = {name: numpy.ascontiguousarray(loaded[name]) for name in loaded.files}
        except (OSError, ValueError) as error:
            raise TaskFailed(protocol.FAILED_OPEN, "the feeds cannot be read: {}".format(error)) from error
        count = min((len(one) for one in arrays.values()), default=0)
        if count == 0:
            raise TaskFailed(protocol.FAILED_OPEN, "the feeds are empty")
        # With the ellipsis, because a scalar's feed must stay an array: onnxruntime takes no numpy.float32.
        return [{name: one[index, ...] for name, one in arrays.items()} for index in range(count)]

    def _infer(self, index: int) -> None:
        feed = self._feeds[index % len(self._feeds)]
        _guard(protocol.FAILED_INFER, lambda: self._session.infer(feed))

    def measure_memory(self) -> Fields:
        """The peak over some inferences, None where the kernel does not reset it; and the shared-out size."""
        is_reset = memory.reset_peak()
        for index in range(MEMORY_INFERENCES):
            self._infer(index)
        return {"peak": memory.read_peak() if is_reset else None, "pss": memory.read_proportional()}

    def measure_round(self) -> Fields:
        """Warm up, then one timed round with the state of the board around it."""
        warmup = _guard(protocol.FAILED_INFER, self._warm_up)
        cores = usable_cores()
        root = find_root()
        before, ticks = read_environment(root), read_busy_ticks(root, cores)
        own, started = _cpu_s(), time.monotonic()
        count, seconds = _guard(protocol.FAILED_INFER, self._time_round)
        after, ticks_after = read_environment(root), read_busy_ticks(root, cores)
        own, core_s = _cpu_s() - own, (time.monotonic() - started) * len(cores)
        tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
        after["cpu_busy"] = share_of_others(ticks, ticks_after, tick_s, own, core_s)
        before["cpu_busy"] = None
        return {
            "count": count,
            "seconds": seconds,
            "warmup": warmup,
            "environment": {"before": before, "after": after},
            "samples_ns": pack_samples(self._buffer, count),
        }

    def _warm_up(self) -> Fields:
        """To steady state before the first round of this process, briefly before the others."""
        infer, rules = self._session.infer, self._rules
        if self._buffer is not None:
            inferences, seconds = timing.warm_again(infer, self._feeds)
            return {"inferences": inferences, "seconds": seconds, "steady": self._is_steady}
        warmed = timing.warm_up(
            infer,
            self._feeds,
            least_inferences=rules["warmup_inferences"],
            least_s=rules["warmup_s"],
            window=rules["steady_window"],
            tolerance=rules["steady_tolerance"],
            cap_s=rules["warmup_cap_s"],
        )
        capacity = timing.choose_capacity(rules["round_s"], rules["round_samples"], warmed.shortest_ns)
        self._buffer = array("Q", bytes(8 * capacity))
        self._is_steady = warmed.is_steady
        return {"inferences": warmed.inferences, "seconds": warmed.seconds, "steady": warmed.is_steady}

    def _time_round(self) -> Any:
        rules = self._rules
        return timing.time_round(
            self._session.infer, self._feeds, self._buffer, rules["round_s"], rules["round_samples"]
        )

    def keep_busy(self, seconds: float) -> Fields:
        """Infer for some seconds while the run reads the power: inferences and seconds."""
        count, begin = 0, time.monotonic()
        while time.monotonic() - begin < seconds:
            self._infer(count)
            count += 1
        return {"inferences": count, "seconds": time.monotonic() - begin}

    def evaluate(self, send_sign: Callable[[], None]) -> Fields:
        """Accuracy and agreement, with signs of life on the way; and versions of what ran."""
        task, last = self._task, [time.monotonic()]

        def say_alive() -> None:
            if time.monotonic() - last[0] > SIGN_OF_LIFE_S:
                last[0] = time.monotonic()
                send_sign()

        evaluation = self._find_blob("evaluation") if task["evaluation"] else None
        reference = self._find_blob("reference") if task["reference"] else None
        # At the batch that was timed: a larger one may want more memory than was measured, or than there is.
        name, infer, batch = self._session.inputs[0].name, self._session.infer, task["batch"]
        quality = _guard(
            protocol.FAILED_INFER, lambda: evaluate(infer, name, evaluation, reference, batch, say_alive)
        )
        described = self._session.describe()
        found = dict(quality._asdict())
        found.update(
            provider=described.provider,
            is_fallback=described.is_fallback,
            nodes=described.nodes,
            settings=described.settings,
            compute_ms=self._time_compute(),
        )
        found["versions"] = dict(read_versions(), runtime=self._version)
        return found

    def _time_compute(self) -> Optional[float]:
        """The median over some inferences of what the accelerator alone took; None where there is none."""
        time_compute = self._session.time_compute
        if time_compute is None:
            return None
        feeds = self._feeds
        taken = [
            _guard(protocol.FAILED_INFER, functools.partial(time_compute, feeds[index % len(feeds)]))
            for index in range(COMPUTE_INFERENCES)
        ]
        return median(taken)


def load_runtime(name: str) -> Runtime:
    """The runtime of that name, imported."""
    if name not in RUNTIMES:
        raise TaskFailed(protocol.FAILED_MISSING, "this agent knows no runtime {!r}".format(name))
    return _guard(protocol.FAILED_OPEN, RUNTIMES[name].load)  # type: ignore[no-any-return]


def _guard(kind: str, work: Callable[[], Any]) -> Any:
    """The result of foreign code; whatever it raises becomes this measurement's failure."""
    try:
        return work()
    except (MemoryError, TaskFailed):
        raise
    except RuntimeMissing as missing:
        raise TaskFailed(protocol.FAILED_MISSING, str(missing)) from missing
    except Exception as error:
        message = "{}: {}".format(type(error).__name__, error)
        is_memory = any(sign in message for sign in _OUT_OF_MEMORY)
        raise TaskFailed(protocol.FAILED_MEMORY if is_memory else kind, message) from error


def _cpu_s() -> float:
    """CPU seconds of all threads of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
