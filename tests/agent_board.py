"""A board without a network: a folder of this machine, the real agent, and small real ONNX models."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import resource
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PROTOCOL = {
    "rounds": 3,
    "round_s": 0.05,
    "round_samples": 8,
    "warmup_s": 0.0,
    "warmup_inferences": 4,
    "warmup_cap_s": 1.0,
    "steady_window": 4,
    "steady_tolerance": 0.5,
    "power_window_s": 0.2,
}
IMAGES = np.random.default_rng(0).standard_normal((10, 3, 8, 8)).astype(np.float32)
LABELS = np.arange(10)


Event = dict[str, Any]


@dataclass
class Board:
    """The work folder and how the agent is called on it; `limits` are resource limits of the calls."""

    work: Path
    agent: Path
    python: str = sys.executable
    limits: dict[int, int] = field(default_factory=dict)

    def start_call(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        command = [self.python, str(self.agent), "--work", str(self.work), *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=self._set_limits, **options)

    def _set_limits(self) -> None:
        for kind, limit in self.limits.items():
            resource.setrlimit(kind, (limit, limit))

    def call(self, *words: str, stdin: bytes = b"") -> tuple[int, Any]:
        """The exit code and the JSON answer of one command (a list where it answers several lines)."""
        with self.start_call(*words, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            stdout, _ = process.communicate(stdin, timeout=60)
        lines = [json.loads(line) for line in stdout.splitlines()]
        return process.returncode, lines[0] if len(lines) == 1 else lines

    def put_blob(self, content: bytes) -> str:
        """The name of a blob that lies on the board as if it had been received."""
        sha256 = hashlib.sha256(content).hexdigest()
        (self.work / "blobs").mkdir(parents=True, exist_ok=True)
        (self.work / "blobs" / sha256).write_bytes(content)
        return sha256

    def describe_task(self, name: str, model: bytes, /, **changes: Any) -> dict[str, Any]:
        """A task of the job for a model of one image input, with feeds and an evaluation set."""
        feeds = pack_arrays(x=IMAGES[:4].reshape(4, 1, 3, 8, 8))
        return {
            "task": name,
            "model": self.put_blob(model),
            "feeds": self.put_blob(feeds),
            "evaluation": self.put_blob(pack_arrays(x=IMAGES, y=LABELS)),
            "reference": None,
            "runtime": "onnxruntime",
            "provider": "CPUExecutionProvider",
            "threads": 1,
            "batch": 1,
            **changes,
        }

    def put_job(self, run: str, *tasks: Mapping[str, Any], **changes: Any) -> None:
        job = {
            "schema": 1,
            "run": run,
            "holder": "ann@laptop",
            "seed": 0,
            "layer": None,
            "protocol": PROTOCOL,
            "tasks": tasks,
            **changes,
        }
        code, answer = self.call("put-job", run, stdin=json.dumps(job).encode())
        assert code == 0, answer

    def measure(self, run: str) -> list[dict[str, Any]]:
        """Start a run and follow it to its end: every event of its journal."""
        code, answer = self.call("start", run)
        assert code == 0, answer
        code, events = self.call("follow", run)
        assert code == 0
        return list(events)

    @contextmanager
    def follow(self, run: str, after: int = 0) -> Iterator[Iterator[dict[str, Any]]]:
        """The events as they come."""
        with self.start_call("follow", run, "--after", str(after)) as process:
            assert process.stdout is not None
            try:
                yield (json.loads(line) for line in process.stdout)
            finally:
                process.kill()

    def read_journal(self, run: str) -> list[dict[str, Any]]:
        lines = (self.work / "runs" / run / "journal.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def read_journal_lines(self, run: str) -> list[bytes]:
        return (self.work / "runs" / run / "journal.jsonl").read_bytes().splitlines()

    def find_worker(self, run: str, task: str) -> int:
        """The process that measures a task: the one whose standard output is that task's log."""
        log = str(self.work / "runs" / run / f"worker-{task}.log")
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _read_link(entry / "fd" / "1") == log:
                return int(entry.name)
        raise AssertionError(f"no worker measures {task}")


def _read_link(path: Path) -> str | None:
    try:
        return str(path.readlink())
    except OSError:
        return None  # the process is gone, or not ours


def pack_arrays(**arrays: Any) -> bytes:
    """The bytes of an .npz."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def make_model(width: int = 4, opset: int = 17, batch: int | str = "n") -> bytes:
    """A convolution and a classifier of ten classes over images of 3×8×8."""
    generator = np.random.default_rng(width)
    kernel = numpy_helper.from_array(generator.standard_normal((width, 3, 3, 3)).astype(np.float32), "kernel")
    weights = generator.standard_normal((width * 36, 10)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("MatMul", ["f", "weights"], ["y"]),
    ]
    return pack_model(nodes, [kernel, numpy_helper.from_array(weights, "weights")], opset, batch)


def make_hungry_model(elements: int) -> bytes:
    """A model that asks for a tensor of so many floats with every inference."""
    shape = numpy_helper.from_array(np.array([elements], dtype=np.int64), "shape")
    axes = numpy_helper.from_array(np.array([0, 1], dtype=np.int64), "axes")
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Expand", ["m", "shape"], ["e"]),
        helper.make_node("ReduceMax", ["e"], ["s"], keepdims=0),
        helper.make_node("Unsqueeze", ["s", "axes"], ["y"]),
    ]
    return pack_model(nodes, [shape, axes], 17, "n")


def pack_model(nodes: list[Any], constants: list[Any], opset: int, batch: int | str) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


def run_model(model: bytes, images: Any) -> Any:
    """What the host's own runtime answers."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": images})[0]


def load_opset(model: bytes) -> int:
    """The opset that a model asks for."""
    return int(onnx.load_from_string(model).opset_import[0].version)


def pick(events: Iterable[Event], kind: str, task: str | None = None) -> list[Event]:
    return [one for one in events if one["event"] == kind and task in (None, one.get("task"))]


def wait_for(events: Iterable[Event], kind: str, **fields: Any) -> Event:
    for one in events:
        if one["event"] == kind and all(one.get(key) == value for key, value in fields.items()):
            return one
    raise AssertionError(f"the journal ended without {kind} {fields}")


def unpack(event: Event) -> Any:
    return np.frombuffer(zlib.decompress(base64.b64decode(event["samples_ns"])), dtype="<u8")
