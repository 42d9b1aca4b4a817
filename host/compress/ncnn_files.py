"""A model for ncnn: converted from ONNX by pnnx, and packed into the one file that a board is sent.

ncnn reads a graph (`.param`) and its weights (`.bin`). pnnx writes both, without a batch. Weights stay
float32 here: ncnn narrows them itself, as it loads them, where a profile asks for f16 or bf16.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from host.compress.build_store import describe_blob, write_file
from host.compress.data import Floats
from host.compress.feeds import write_feeds
from host.errors import ModelError
from host.plan import digest
from host.specs.artifact import Artifact, Blob

FORMAT = 1
"""Of the packed file: what device_agent/runtimes/ncnn.py reads."""

TOLERANCE = 1e-3
"""How far an answer of ncnn may be from onnxruntime's, relative to the largest of its answers.

Both compute in float32. Winograd's convolutions differ by some 1e-6 of the largest answer; a layer that
means something else differs by far more.
"""

CONVERT_SECONDS = 600
CHECKED_ITEMS = 4

_HOW_TO_INSTALL = "Install them with `pip install 'boardbench[ncnn]'`."
_LEAVE_IT = "Leave it to onnxruntime or openvino"

Shapes = Mapping[str, tuple[int, ...]]
Arrays = dict[str, Floats]


def why_not(artifact: Artifact, batch: int = 1) -> str | None:
    """Why ncnn cannot run a model, as far as its description tells; None where nothing speaks against it."""
    if artifact.precision != "fp32":
        return (
            f"ncnn takes float32 models, this one is {artifact.precision}: pnnx converts neither Q/DQ nodes "
            f"nor float16 tensors. {_LEAVE_IT}"
        )
    if batch != 1 or artifact.fixed_batch not in (None, 1):
        return f"ncnn takes one item at a time, not a batch of {max(batch, artifact.fixed_batch or 1)}"
    for tensor in artifact.inputs:
        if tensor.dtype != "float":
            return f"ncnn is fed float32 here, and the input {tensor.name!r} takes {tensor.dtype}"
        if not 2 <= len(tensor.shape) <= 5:
            return f"ncnn holds a batch of 1 to 4 dimensions, and {tensor.name!r} has {len(tensor.shape)}"
        if tensor.shape[0] not in (None, 1):
            return f"ncnn has no batch, and the first extent of {tensor.name!r} is {tensor.shape[0]}"
    return None


def provide_ncnn(artifact: Artifact, shapes: Shapes, cache: Path) -> Blob:
    """The variant as one file for ncnn, at batch 1, from the cache where it was converted before.

    `shapes` settles, by input name, the extents that the file leaves open (an open first extent becomes 1).
    `cache` is the cache of the workspace; files go to `cache / "ncnn"`. Raises ModelError where pnnx is not
    installed, where it cannot convert the model, or where ncnn's answers are not those of onnxruntime.
    """
    name = f"{artifact.model} {artifact.variant}"
    if reason := why_not(artifact):
        raise ModelError(f"{name}: {reason}")
    pnnx = _find_pnnx()
    feeds = _load_feeds(write_feeds(artifact, 1, shapes, cache / "feeds").path)
    settled = {key: array.shape[1:] for key, array in feeds.items()}
    versions = {"pnnx": version("pnnx"), "ncnn": version("ncnn")}
    decides = {"onnx": artifact.blob.sha256, "shapes": settled, "format": FORMAT, **versions}
    path = cache.absolute() / "ncnn" / f"{digest(decides)}.ncnn"
    if not path.is_file():
        write_file(path, _convert(name, artifact, feeds, pnnx))
    return describe_blob(path)


def _find_pnnx() -> Path:
    """pnnx's program. Its Python package is not imported: it loads torch, and its program does without."""
    found = find_spec("pnnx")
    if found is None or found.origin is None or find_spec("ncnn") is None:
        raise ModelError(
            "models for ncnn are converted by pnnx and checked with ncnn; one of the two is not installed",
            _HOW_TO_INSTALL,
        )
    return Path(found.origin).parent / "pnnx"


def _load_feeds(path: Path) -> Arrays:
    """A few items for each input, as they will be timed."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name][:CHECKED_ITEMS] for name in stored.files}


def _convert(name: str, artifact: Artifact, feeds: Arrays, pnnx: Path) -> bytes:
    """The packed file, checked. pnnx writes a dozen files where it runs, so that is a folder of its own."""
    inputs = [tensor.name for tensor in artifact.inputs]
    with tempfile.TemporaryDirectory(prefix="boardbench-ncnn-") as place:
        folder = Path(place)
        (folder / "model.onnx").symlink_to(artifact.blob.path.absolute())
        _run_pnnx(name, folder, pnnx, [feeds[key].shape[1:] for key in inputs])
        param = (folder / "model.ncnn.param").read_text()
        _check_layers(name, param)
        expected = _run_onnx(artifact.blob.path, feeds)
        found = _run_ncnn(name, folder, [feeds[key] for key in inputs])
        _check_answers(name, expected, found)
        described = {
            "format": FORMAT,
            "inputs": _describe_ports("in", {key: feeds[key] for key in inputs}),
            "outputs": _describe_ports("out", expected),
            "converter": f"pnnx {version('pnnx')}",
        }
        return pack_ncnn(described, param.encode(), (folder / "model.ncnn.bin").read_bytes())


def _describe_ports(kind: str, arrays: Arrays) -> list[dict[str, object]]:
    """pnnx numbers inputs and outputs in the order that they have in ONNX."""
    return [
        {"name": name, "blob": f"{kind}{index}", "shape": list(array.shape[1:])}
        for index, (name, array) in enumerate(arrays.items())
    ]


def pack_ncnn(described: Mapping[str, object], param: bytes, weights: bytes) -> bytes:
    """One file of what ncnn reads, and of what its inputs and outputs are. Equal parts give equal bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        told = json.dumps(described, sort_keys=True).encode()
        for name, data in (("boardbench.json", told), ("model.param", param), ("model.bin", weights)):
            archive.writestr(zipfile.ZipInfo(name), data)  # of 1980, whenever it is packed
    return packed.getvalue()


def _run_pnnx(name: str, folder: Path, pnnx: Path, shapes: list[tuple[int, ...]]) -> None:
    listed = ",".join(f"[{','.join(map(str, shape))}]f32" for shape in shapes)
    command = [str(pnnx), "model.onnx", f"inputshape={listed}", "fp16=0"]
    done = _run(name, command, folder)
    if done.returncode != 0 or not (folder / "model.ncnn.bin").is_file():
        raise ModelError(
            f"{name}: pnnx cannot convert it for ncnn: {_find_reason(done)}",
            f"{_LEAVE_IT}, or export it with simpler operators.",
        )


def _run(name: str, command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=CONVERT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{name}: converting it for ncnn took longer than {CONVERT_SECONDS} s") from error
    except OSError as error:
        raise ModelError(f"{command[0]} cannot be started: {error.strerror}", _HOW_TO_INSTALL) from error


def _find_reason(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that says something, and the signal that ended the process, if one did."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in done.stdout.splitlines()]
    last = next((line for line in reversed(lines) if line), "it says nothing")
    return f"{last} (signal {-done.returncode})" if done.returncode < 0 else last


def _check_layers(name: str, param: str) -> None:
    """Raise ModelError that names what pnnx left unconverted, such as `pnnx.Expression` or `Tensor.to`."""
    kinds = {line.split()[0] for line in param.splitlines()[2:]}
    left = sorted(kind for kind in kinds if not re.fullmatch(r"[A-Za-z0-9]+", kind))
    if left:
        raise ModelError(
            f"{name}: pnnx has no layer of ncnn for {', '.join(left)}",
            f"{_LEAVE_IT}, or export it with simpler operators.",
        )


def _run_onnx(path: Path, feeds: Arrays) -> Arrays:
    """What onnxruntime answers to every item: output name to (items, *shape)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its warnings on graph clean-up say nothing to a user
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    items = range(len(next(iter(feeds.values()))))
    answers = [session.run(None, {key: one[item] for key, one in feeds.items()}) for item in items]
    return {name: np.stack([answer[index] for answer in answers]) for index, name in enumerate(names)}


def _run_ncnn(name: str, folder: Path, inputs: list[Floats]) -> Arrays:
    """What ncnn answers to every item, by its own names for the outputs."""
    without_batch = {f"in{index}": array[:, 0] for index, array in enumerate(inputs)}
    np.savez(folder / "feeds.npz", allow_pickle=False, **without_batch)
    script = str(Path(__file__).with_name("ncnn_answers.py"))
    files = ["model.ncnn.param", "model.ncnn.bin", "feeds.npz", "answers.npz"]
    # With -P, modules beside the script do not stand in for others of the same name.
    done = _run(name, [sys.executable, "-P", script, *files], folder)
    if done.returncode != 0:
        raise ModelError(
            f"{name}: ncnn cannot run what pnnx made of it: {_find_reason(done)}",
            f"{_LEAVE_IT}.",
        )
    with np.load(folder / "answers.npz", allow_pickle=False) as loaded:
        return {key: loaded[key] for key in loaded.files}


def _check_answers(name: str, expected: Arrays, found: Arrays) -> None:
    for index, (output, right) in enumerate(expected.items()):
        answer = found.get(f"out{index}")
        if answer is None or answer.size != right.size or right.dtype != np.float32:
            raise ModelError(
                f"{name}: ncnn's answer {output!r} is {None if answer is None else answer.shape[1:]}, "
                f"and onnxruntime's {right.shape[1:]} of {right.dtype}",
                f"{_LEAVE_IT}.",
            )
        largest = float(np.abs(right).max())
        difference = float(np.abs(answer.reshape(right.shape) - right).max())
        if not difference <= TOLERANCE * largest:  # which is so where one of them is no number
            raise ModelError(
                f"{name}: converted for ncnn it answers something else: {output!r} differs by "
                f"{difference:.2g}, where the largest answer is {largest:.2g}",
                f"{_LEAVE_IT}: pnnx misread it.",
            )
