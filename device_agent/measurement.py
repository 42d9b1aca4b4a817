"""One measurement inside its own process: open, memory, rounds, load for the power pass, evaluation."""

import functools
import time
from typing import Any, Callable, Dict, List, Optional

from device_agent import memory, protocol, timing
from device_agent.environment import read_versions
from device_agent.evaluation import evaluate
from device_agent.faults import AgentFault, shorten_text
from device_agent.intact import check_apart
from device_agent.loop_only import LoopRounds
from device_agent.rounds import Rounds
from device_agent.runtimes import catalogue
from device_agent.runtimes.session import Description, Opening, Runtime, RuntimeMissing
from device_agent.validity import median
from device_agent.work_folder import WorkFolder

Fields = Dict[str, Any]

MEMORY_INFERENCES = 10
COMPUTE_INFERENCES = 51
SIGN_OF_LIFE_S = 2.0
_FILES = ("model", "feeds", "evaluation", "reference")
_OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate", "out of memory", "OutOfMemory", "BFCArena")


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
        self._rounds: Any = None
        self._left_mb: List[Optional[float]] = []  # on the board, before the model was opened and after
        self._loops: Optional[LoopRounds] = None  # where the runtime only runs loops of its own

    def open(self) -> Fields:
        """Load and first inference, timed apart; resident memory before and after."""
        task = self._task
        runtime = load_runtime(task["runtime"])
        self._version = runtime.version
        self._check_blobs()
        feeds = guard(protocol.FAILED_OPEN, lambda: load_feeds(self._folder.blob(task["feeds"])))
        path = self._folder.blob(task["model"])
        baseline, left_mb = memory.read_resident(), memory.read_available()
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
        self._session = guard(protocol.FAILED_OPEN, lambda: runtime.open(asked))
        opened = timing.clock_ns()
        loaded = memory.read_resident()
        self._left_mb = [left_mb, memory.read_available()]
        self._feeds = feeds
        if self._session.time_loop is None:
            self._rounds = Rounds(self._session.infer, feeds, self._rules)
        else:
            self._rounds = self._loops = LoopRounds(self._session.time_loop, self._rules)
            baseline = loaded = None  # this process does not hold the model
        first_ms = self._time_first()
        described = self._session.describe()
        return {
            "provider": described.provider,
            "threads": self._session.threads,
            "runtime_version": self._version,
            "build_s": described.build_s,
            "runs_own_loops": self._loops is not None,
            "inputs": [dict(one._asdict()) for one in self._session.inputs],
            "load_ms": find_load_ms((opened - started) / 1e6, described),
            "first_inference_ms": first_ms,
            "memory_mb": {"baseline": baseline, "loaded": loaded},
        }

    def _check_blobs(self) -> None:
        """Every file that this measurement needs is there, and is what it is named for.

        All of them are looked at: whoever resumes sends at once what is gone.
        """
        failures = []
        for key in _FILES:
            if self._task.get(key):
                try:
                    check_apart(self._folder, self._task[key])
                except AgentFault as fault:
                    failures.append(
                        TaskFailed(fault.kind, "the blob of the {} {}".format(key, fault.message))
                    )
        if failures:
            raise failures[0]

    def _path(self, key: str) -> Optional[str]:
        return self._folder.blob(self._task[key]) if self._task.get(key) else None

    def _time_first(self) -> float:
        """The first inference in ms."""
        if self._loops is not None:
            return guard(protocol.FAILED_INFER, self._loops.time_first)  # type: ignore[no-any-return]
        started = timing.clock_ns()
        self._infer(0)
        return (timing.clock_ns() - started) / 1e6

    def _infer(self, index: int) -> None:
        feed = self._feeds[index % len(self._feeds)]
        guard(protocol.FAILED_INFER, lambda: self._session.infer(feed))

    def measure_memory(self) -> Fields:
        """The peak over some inferences, None where the kernel does not reset it; the shared-out size; and by
        how much the board's available memory fell since the model was opened."""
        if self._loops is not None:
            return guard(protocol.FAILED_INFER, self._loops.measure_memory)  # type: ignore[no-any-return]
        is_reset = memory.reset_peak()
        for index in range(MEMORY_INFERENCES):
            self._infer(index)
        before, opened = self._left_mb
        return {
            "peak": memory.read_peak() if is_reset else None,
            "pss": memory.read_proportional(),
            "available_fall": memory.find_fall(before, opened, memory.read_available()),
        }

    def measure_round(self) -> Fields:
        """Warm up, then one timed round with the state of the board around it."""
        return guard(protocol.FAILED_INFER, self._rounds.measure)  # type: ignore[no-any-return]

    def sustain(self, send: Callable[[Fields], None]) -> Fields:
        """Warm up, then one long loop; each piece of it is sent as a round when it is complete."""
        guard(protocol.FAILED_INFER, lambda: self._rounds.sustain(send))
        return {}

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

        is_possible = self._loops is None  # not where every batch would start a process
        evaluation = self._path("evaluation") if is_possible else None
        reference = self._path("reference")
        # At the batch that was timed: a larger one may want more memory than was measured, or than there is.
        name, infer, batch = self._session.inputs[0].name, self._session.infer, task["batch"]
        quality = guard(
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
        if self._loops is not None:
            return self._loops.compute_ms
        time_compute = self._session.time_compute
        if time_compute is None:
            return None
        feeds = self._feeds
        taken = [
            guard(protocol.FAILED_INFER, functools.partial(time_compute, feeds[index % len(feeds)]))
            for index in range(COMPUTE_INFERENCES)
        ]
        return median(taken)


def find_load_ms(opened_ms: float, described: Description) -> Optional[float]:
    """Opening without what was built meanwhile; None where the runtime does not tell the two apart."""
    if described.build_s is None:
        return opened_ms
    left_ms = opened_ms - 1e3 * described.build_s
    return left_ms if described.is_build_apart and left_ms > 0 else None


def load_runtime(name: str) -> Runtime:
    """The runtime of that name, imported."""
    if name not in catalogue.NAMES:
        raise TaskFailed(protocol.FAILED_MISSING, "this agent knows no runtime {!r}".format(name))
    return guard(protocol.FAILED_OPEN, lambda: catalogue.load_runtime(name))  # type: ignore[no-any-return]


def load_feeds(path: str) -> List[Any]:
    """The feeds of the timed loop, each a complete set of inputs, from an .npz. Raises TaskFailed."""
    import numpy

    try:
        with numpy.load(path) as loaded:
            arrays = {name: numpy.ascontiguousarray(loaded[name]) for name in loaded.files}
    except (OSError, ValueError) as error:
        raise TaskFailed(protocol.FAILED_OPEN, "the feeds cannot be read: {}".format(error)) from error
    count = min((len(one) for one in arrays.values()), default=0)
    if count == 0:
        raise TaskFailed(protocol.FAILED_OPEN, "the feeds are empty")
    # With the ellipsis, because a scalar's feed must stay an array: onnxruntime takes no numpy.float32.
    return [{name: one[index, ...] for name, one in arrays.items()} for index in range(count)]


def guard(kind: str, work: Callable[[], Any]) -> Any:
    """The result of foreign code; whatever it raises becomes this measurement's failure."""
    try:
        return work()
    except TaskFailed:
        raise
    except RuntimeMissing as missing:
        raise TaskFailed(protocol.FAILED_MISSING, str(missing)) from missing
    except MemoryError as error:
        raise TaskFailed(protocol.FAILED_MEMORY, "out of memory: {}".format(error)) from error
    except Exception as error:
        message = "{}: {}".format(type(error).__name__, error)
        is_memory = any(sign in message for sign in _OUT_OF_MEMORY)
        raise TaskFailed(protocol.FAILED_MEMORY if is_memory else kind, message) from error
