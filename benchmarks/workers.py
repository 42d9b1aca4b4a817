"""Real workers of the agent, and the models and tasks that they are asked to measure."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from device_agent.journal import unpack_samples
from device_agent.memory import parse_status

Samples = NDArray[np.int64]


class Process:
    """A process on one core that answers a line of JSON with a line of JSON."""

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

    def measure_round(self, do: str = "round", **settings: Any) -> Samples:
        """The samples of one round in nanoseconds: packed in the worker's answer, raw behind the loop's."""
        answer = self.ask(do=do, **settings)
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
