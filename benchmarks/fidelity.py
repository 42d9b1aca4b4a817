"""The p50 and the memory of the agent's worker beside a bare loop around the same session.

Both are processes of their own, pinned to the same single core, and open the same file with the same
settings and the same feeds. The worker is the real one: `agent.pyz worker`, asked through its command pipe
as a run asks it. The other one holds nothing but a loop (bare_loop.py). Their rounds alternate in ABBA order,
so that drift cancels, and the pooled medians are compared: the agent's as the ledger computes it. Where a
process happens to lie in memory moves its latency, so each model is measured by several pairs of processes.
Memory is read from /proc at the same stage of both, after their last round.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx
from figures import Figure, at_most, below, build_parser, fact, tell
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from device_agent.journal import unpack_samples
from device_agent.memory import parse_status
from host.fleet.agent_archive import build_agent
from host.ledger.statistics import summarize_latency
from host.specs.measure import Measure

DEVIATION_LIMIT = 2.0
MEMORY_LIMIT_MIB = 5.0
MODELS = {
    "conv 8×16×16": (2, 8, 16),
    "conv 32×16×16": (4, 32, 16),
    "conv 64×24×24": (4, 64, 24),
    "conv 64×32×32": (6, 64, 32),
}
"""Layers, channels and extent of each model: from a fiftieth of a millisecond to several."""

Samples = NDArray[np.int64]


@dataclass(frozen=True)
class Settings:
    pairs: int
    rounds: int
    round_s: float


@dataclass(frozen=True)
class Bench:
    """What one model is measured with."""

    agent: Path
    work: Path
    task: dict[str, Any]
    core: int
    settings: Settings


@dataclass(frozen=True)
class Pair:
    """The rounds of a worker and of a loop, and the memory in MiB that the worker had more."""

    told: list[Samples]
    bare: list[Samples]
    added: dict[str, float]


class Process:
    """One of the two: a process on one core that answers a line of JSON with a line of JSON."""

    def __init__(self, command: list[str], core: int) -> None:
        replies, writer = os.pipe()
        self._replies = os.fdopen(replies, "rb")
        self._process = subprocess.Popen(
            [sys.executable, *command, str(writer)],
            stdin=subprocess.PIPE,
            pass_fds=(writer,),
            env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
            preexec_fn=lambda: os.sched_setaffinity(0, [core]),
        )
        os.close(writer)

    def ask(self, **command: Any) -> dict[str, Any]:
        """The answer; signs of life are passed over."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        for line in self._replies:
            reply = json.loads(line)
            if "error" in reply:
                raise RuntimeError(reply["error"]["message"])
            if "done" in reply:
                answer: dict[str, Any] = reply["done"]
                return answer
        raise RuntimeError(f"the process ended with exit code {self._process.wait()}")

    def measure_round(self) -> Samples:
        """The samples of one round in nanoseconds: packed in the worker's answer, raw behind the loop's."""
        answer = self.ask(do="round")
        packed = answer.get("samples_ns")
        raw = self._replies.read(8 * answer["count"]) if packed is None else unpack_samples(packed).tobytes()
        return np.frombuffer(raw, dtype="<u8").astype(np.int64)

    def read_memory(self) -> dict[str, float]:
        """Resident, proportional and highest resident memory in MiB."""
        folder = Path(f"/proc/{self._process.pid}")
        status, rollup = (folder / "status").read_text(), (folder / "smaps_rollup").read_text()
        texts = {"VmRSS": status, "VmHWM": status, "Pss": rollup}
        return {name: parse_status(text, name) or 0.0 for name, text in texts.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._replies.close()


def main() -> int:
    options = build_parser(__doc__).parse_args()
    settings = Settings(1, 4, 0.1) if options.quick else Settings(4, 12, 0.15)
    core = max(os.sched_getaffinity(0))
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        agent = build_agent(Path(name) / "cache").path
        for label, shape in MODELS.items():
            task = write_task(Path(name), *shape)
            figures += compare_model(label, agent, Path(name), task, core, settings)
    return tell(figures, options.format)


def write_task(work: Path, layers: int, channels: int, extent: int) -> dict[str, Any]:
    """A task of a job, with its files in the work folder as if they had been deployed."""
    model = make_model(layers, channels, extent)
    shape = (1, channels, extent, extent)
    feeds = work / "feeds.npz"
    np.savez(feeds, x=np.random.default_rng(1).standard_normal((4, *shape)).astype(np.float32))
    return {
        "task": "t",
        "model": put_blob(work, model),
        "feeds": put_blob(work, feeds.read_bytes()),
        "evaluation": None,
        "reference": None,
        "runtime": "onnxruntime",
        "provider": "CPUExecutionProvider",
        "threads": 1,
        "batch": 1,
    }


def put_blob(work: Path, content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    (work / "blobs").mkdir(exist_ok=True)
    (work / "blobs" / sha256).write_bytes(content)
    return sha256


def make_model(layers: int, channels: int, extent: int) -> bytes:
    """3×3 convolutions with ReLU; weights keep the scale of what flows through, so nothing gets denormal."""
    random = np.random.default_rng(0)
    weights, nodes, last = {}, [], "x"
    for at in range(layers):
        scale = np.sqrt(2 / (9 * channels))
        kernel = random.standard_normal((channels, channels, 3, 3)) * scale
        weights[f"w{at}"] = kernel.astype(np.float32)
        out = "y" if at == layers - 1 else f"r{at}"
        nodes.append(helper.make_node("Conv", [last, f"w{at}"], [f"c{at}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{at}"], [out]))
        last = out
    shape = [1, channels, extent, extent]
    graph = helper.make_graph(
        nodes,
        "fidelity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized


def compare_model(
    label: str, agent: Path, work: Path, task: dict[str, Any], core: int, settings: Settings
) -> list[Figure]:
    """What the agent reports for one model, and how far that is from the bare loop."""
    bench = Bench(agent, work, task, core, settings)
    pairs = [measure_pair(bench, number) for number in range(settings.pairs)]
    reported = summarize_latency([one for pair in pairs for one in pair.told]).p50
    plain = float(np.median(np.concatenate([one for pair in pairs for one in pair.bare]))) / 1e6
    deviation = None if reported is None else 100 * abs(reported / plain - 1)
    figures = [
        fact(f"{label}: p50 of the bare loop", plain, "ms"),
        fact(f"{label}: p50 that the agent reports", reported, "ms"),
        at_most(f"{label}: difference", deviation, DEVIATION_LIMIT, "%"),
    ]
    for name in ("VmRSS", "VmHWM", "Pss"):
        middle = statistics.median(pair.added[name] for pair in pairs)
        figures.append(below(f"{label}: {name} above the bare loop", middle, MEMORY_LIMIT_MIB, "MiB"))
    return figures


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
        rules = Measure(round_s=bench.settings.round_s).model_dump(mode="json")
        worker.ask(do="open", task=bench.task, protocol=rules, layer=None)
        worker.ask(do="memory")
        loop.ask(do="open", seconds=bench.settings.round_s)
        rounds: dict[str, list[Samples]] = {"worker": [], "loop": []}
        for number in range(bench.settings.rounds):
            for name in ("worker", "loop") if number % 2 == 0 else ("loop", "worker"):
                rounds[name].append(both[name].measure_round())
        memory, plain = worker.read_memory(), loop.read_memory()
    return Pair(rounds["worker"], rounds["loop"], {name: memory[name] - plain[name] for name in memory})


if __name__ == "__main__":
    sys.exit(main())
