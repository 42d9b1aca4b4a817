"""Conversion for ncnn: with pnnx and ncnn for real where both are installed."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from device_agent.runtimes import ncnn
from host.compress import ncnn_files
from host.compress.ncnn_files import pack_ncnn, provide_ncnn, why_not
from host.compress.onnx_files import read_onnx
from host.errors import ModelError
from host.specs.artifact import Artifact, Blob, Tensor
from tests.agent_board import IMAGES, make_model, run_model
from tests.runtime_models import make_half_model, make_opening, make_quantized_model

needs_pnnx = pytest.mark.skipif(
    find_spec("pnnx") is None or find_spec("ncnn") is None, reason="pnnx and ncnn are not both installed"
)
SHAPES = {"x": (1, 3, 8, 8)}
CLASSIFIER_ROWS = np.ones((1, 2, 3), dtype=np.float32)


def describe_artifact(*shape: int | None, precision: str = "fp32", dtype: str = "float") -> Artifact:
    return Artifact(
        model="m",
        variant="dense",
        variant_id="1",
        blob=Blob(path=Path("m.onnx"), sha256="0" * 64, size=1),
        inputs=(Tensor(name="x", dtype=dtype, shape=shape),),
        opset=18,
        precision=precision,
    )


def write_model(folder: Path, model: bytes) -> Artifact:
    path = folder / "model.onnx"
    path.write_bytes(model)
    return read_onnx(path, SHAPES)


def make_graph(
    operator: str, outputs: tuple[str, ...] = ("y",), dtype: int = TensorProto.FLOAT, **attributes: Any
) -> bytes:
    """One operator over the images, or for several outputs one of each of them."""
    nodes = [helper.make_node(operator, ["x"], [output], **attributes) for output in outputs]
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info(output, dtype, None) for output in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


@pytest.mark.parametrize("shape", [(None, 3, 8, 8), (1, 3, 8, 8), (1, 10), (1, 1, 2, 3, 4)])
def test_float32_models_with_a_batch_of_one_suit_ncnn(shape: tuple[int | None, ...]) -> None:
    assert why_not(describe_artifact(*shape)) is None


@pytest.mark.parametrize(
    ("artifact", "batch", "reason"),
    [
        (
            describe_artifact(None, 3, 8, 8, precision="int8"),
            1,
            "is int8.*Leave it to onnxruntime or openvino",
        ),
        (describe_artifact(None, 3, 8, 8, precision="w4a8"), 1, "is w4a8"),
        (describe_artifact(None, 3, 8, 8, precision="fp16"), 1, "is fp16"),
        (describe_artifact(None, 3, 8, 8), 4, "one item at a time, not a batch of 4"),
        (describe_artifact(8, 3, 8, 8), 1, "one item at a time, not a batch of 8"),
        (describe_artifact(None, 8, dtype="int64"), 1, "the input 'x' takes int64"),
        (describe_artifact(8), 1, "'x' has 1"),
        (describe_artifact(1, 2, 3, 4, 5, 6), 1, "'x' has 6"),
    ],
)
def test_what_ncnn_cannot_run_is_known_beforehand(artifact: Artifact, batch: int, reason: str) -> None:
    found = why_not(artifact, batch)
    assert found is not None
    assert re.search(reason, found)


def test_equal_parts_pack_to_equal_bytes() -> None:
    packed = [
        pack_ncnn({"b": 1, "a": 2}, b"7767517\n", b"\0\1"),
        pack_ncnn({"a": 2, "b": 1}, b"7767517\n", b"\0\1"),
    ]
    assert packed[0] == packed[1]
    assert b"7767517\n" in packed[0]  # as it is, without compression


@pytest.mark.parametrize("missing", ["pnnx", "ncnn"])
def test_what_is_to_be_installed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(ncnn_files, "find_spec", lambda name: None if name == missing else find_spec("numpy"))
    with pytest.raises(ModelError, match=r"boardbench\[ncnn\]"):
        provide_ncnn(write_model(tmp_path, make_model()), SHAPES, tmp_path / "cache")


@pytest.mark.parametrize("make", [make_quantized_model, make_half_model])
def test_narrow_models_are_refused_before_pnnx_is_looked_for(tmp_path: Path, make: Any) -> None:
    with pytest.raises(ModelError, match="takes float32 models"):
        provide_ncnn(write_model(tmp_path, make()), SHAPES, tmp_path / "cache")


@needs_pnnx
def test_the_agent_answers_with_the_packed_file_as_onnxruntime_does(tmp_path: Path) -> None:
    blob = provide_ncnn(write_model(tmp_path, make_model()), SHAPES, tmp_path / "cache")
    assert blob.path.parent == tmp_path / "cache" / "ncnn"
    session = ncnn.open_session(make_opening(tmp_path, blob.path.read_bytes(), "CPU"))
    outputs = np.concatenate([session.infer({"x": image[np.newaxis]})[0] for image in IMAGES])
    np.testing.assert_allclose(outputs, run_model(make_model(), IMAGES), rtol=1e-3, atol=1e-3)
    assert [tuple(one) for one in session.inputs] == [("x", "tensor(float)", [1, 3, 8, 8])]


@needs_pnnx
def test_outputs_keep_the_order_that_they_have_in_onnx(tmp_path: Path) -> None:
    model = onnx.load_from_string(make_graph("Relu", outputs=("y",)))
    model.graph.node.append(helper.make_node("Abs", ["x"], ["a"]))
    model.graph.output.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, None))
    blob = provide_ncnn(write_model(tmp_path, model.SerializeToString()), SHAPES, tmp_path / "cache")
    session = ncnn.open_session(make_opening(tmp_path, blob.path.read_bytes(), "CPU"))
    rectified, absolute = session.infer({"x": IMAGES[:1]})
    np.testing.assert_array_equal(rectified, np.maximum(IMAGES[:1], 0))
    np.testing.assert_array_equal(absolute, np.abs(IMAGES[:1]))


@needs_pnnx
def test_a_model_is_converted_once_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    artifact = write_model(tmp_path, make_model())
    first = provide_ncnn(artifact, SHAPES, tmp_path / "cache")
    written = first.path.stat().st_mtime_ns
    assert provide_ncnn(artifact, SHAPES, tmp_path / "cache") == first
    assert first.path.stat().st_mtime_ns == written
    assert list((tmp_path / "here").iterdir()) == []
    assert list(first.path.parent.iterdir()) == [first.path]


@needs_pnnx
def test_another_model_is_another_file(tmp_path: Path) -> None:
    files = {
        provide_ncnn(write_model(tmp_path, make_model(width)), SHAPES, tmp_path / "cache").path
        for width in (4, 8)
    }
    assert len(files) == 2


@needs_pnnx
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (make_graph("Det"), "ncnn has no Det"),
        (make_graph("CumSum"), "pnnx cannot convert it"),
        (make_graph("ArgMax", dtype=TensorProto.INT64, axis=1), "ncnn cannot run .* ArgMax"),
        (make_graph("NoSuchOperator"), "pnnx cannot convert it"),
    ],
)
def test_an_operator_without_a_layer_is_named(tmp_path: Path, model: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        provide_ncnn(write_model(tmp_path, model), SHAPES, tmp_path / "cache")
    assert not (tmp_path / "cache" / "ncnn").exists()


def test_what_pnnx_left_unconverted_is_named() -> None:
    param = "7767517\n3 3\nInput in0 0 1 in0\npnnx.Expression e 1 1 in0 1 expr=2\nTensor.to t 1 1 1 out0\n"
    with pytest.raises(ModelError, match=r"no layer of ncnn for Tensor\.to, pnnx\.Expression"):
        ncnn_files._check_layers("m dense", param)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (CLASSIFIER_ROWS[:, 0] * 1.01, "differs by 0.01, where the largest answer is 1"),
        (CLASSIFIER_ROWS[:, 0] * np.nan, "differs by nan"),
        (CLASSIFIER_ROWS[:, 0, :2], "'y' is"),
    ],
)
def test_other_answers_than_onnxruntimes_are_refused(answer: Any, message: str) -> None:
    expected = {"y": CLASSIFIER_ROWS[:, :1]}
    with pytest.raises(ModelError, match=message):
        ncnn_files._check_answers("m dense", expected, {"out0": answer})


def test_answers_that_differ_by_rounding_pass() -> None:
    ncnn_files._check_answers("m dense", {"y": CLASSIFIER_ROWS}, {"out0": CLASSIFIER_ROWS * (1 + 1e-5)})


def test_a_missing_output_is_refused() -> None:
    with pytest.raises(ModelError, match="ncnn's answer 'y' is None"):
        ncnn_files._check_answers("m dense", {"y": CLASSIFIER_ROWS}, {})


def test_a_crash_is_told_with_its_signal() -> None:
    code = "import os; print('\\x1b[0;93msomething is wrong\\x1b[m', flush=True); os.kill(os.getpid(), 11)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    assert ncnn_files._find_reason(done) == "something is wrong (signal 11)"


def test_what_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ncnn_files, "CONVERT_SECONDS", 0.2)
    with pytest.raises(ModelError, match=r"m dense: converting it for ncnn took longer than 0\.2 s"):
        ncnn_files._run("m dense", [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path)


def test_a_program_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be started"):
        ncnn_files._run("m dense", [str(tmp_path / "pnnx")], tmp_path)
