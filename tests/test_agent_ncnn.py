"""ncnn on the agent, for real where the package is: small nets written by hand, packed as the host packs."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.runtimes import ncnn
from device_agent.runtimes.session import RuntimeMissing, Session
from host.compress.ncnn_files import pack_ncnn
from host.fleet.agent_archive import build_agent
from tests.agent_board import IMAGES, Board, pick
from tests.runtime_models import make_opening

needs_ncnn = pytest.mark.skipif(find_spec("ncnn") is None, reason="ncnn is not installed")

WEIGHTS = np.random.default_rng(3).standard_normal((10, 192)).astype(np.float32)
CLASSIFIER = "7767517\n2 2\nInput in0 0 1 in0\nInnerProduct fc 1 1 in0 out0 0=10 1=0 2=1920\n"
RELU = "7767517\n2 2\nInput in0 0 1 in0\nReLU relu 1 1 in0 out0\n"
DIFFERENCE = "7767517\n3 3\nInput a 0 1 in0\nInput b 0 1 in1\nBinaryOp sub 2 1 in0 in1 out0 0=1\n"
AS_FLOAT32 = b"\0\0\0\0"  # before the weights of a layer: how they are stored


def describe_port(name: str, blob: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "blob": blob, "shape": shape}


def pack(
    param: str,
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    weights: bytes = b"",
    format: int = 1,
) -> bytes:
    told = {"format": format, "inputs": inputs, "outputs": outputs, "converter": "by hand"}
    return pack_ncnn(told, param.encode(), weights)


def pack_classifier(weights: bytes = AS_FLOAT32 + WEIGHTS.tobytes()) -> bytes:
    return pack(
        CLASSIFIER, [describe_port("x", "in0", 1, 3, 8, 8)], [describe_port("y", "out0", 1, 10)], weights
    )


def pack_relu(*shape: int) -> bytes:
    return pack(RELU, [describe_port("x", "in0", *shape)], [describe_port("y", "out0", *shape)])


def open_model(folder: Path, model: bytes, **changes: Any) -> Session:
    return ncnn.open_session(make_opening(folder, model, "CPU", **changes))


def make_floats(*shape: int) -> Any:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


@needs_ncnn
def test_a_classifier_answers_as_its_weights_say(tmp_path: Path) -> None:
    session = open_model(tmp_path, pack_classifier())
    outputs = session.infer({"x": IMAGES[:1]})
    expected = IMAGES[:1].reshape(1, 192) @ WEIGHTS.T
    assert len(outputs) == 1
    assert outputs[0].dtype == np.float32
    np.testing.assert_allclose(outputs[0], expected, rtol=1e-4, atol=1e-4)


@needs_ncnn
@pytest.mark.parametrize("shape", [(1, 7), (1, 5, 3), (1, 3, 5, 7), (1, 2, 3, 5, 7)])
def test_every_number_of_dimensions_is_fed_in_order(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Shapes whose channels do not end where ncnn aligns them."""
    x = make_floats(*shape)
    output = open_model(tmp_path, pack_relu(*shape), feed={"x": x}).infer({"x": x})[0]
    np.testing.assert_array_equal(output, np.maximum(x, 0))


@needs_ncnn
def test_a_first_layer_in_place_leaves_the_feed_as_it_was(tmp_path: Path) -> None:
    x = make_floats(1, 16, 8, 8)
    kept = x.copy()
    session = open_model(tmp_path, pack_relu(1, 16, 8, 8), feed={"x": x})
    first, second = session.infer({"x": x})[0], session.infer({"x": x})[0]
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(first, second)


@needs_ncnn
def test_outputs_outlive_the_next_inference(tmp_path: Path) -> None:
    session = open_model(tmp_path, pack_classifier())
    first = session.infer({"x": IMAGES[:1]})[0]
    kept = first.copy()
    for index in range(1, 5):
        assert not np.array_equal(session.infer({"x": IMAGES[index : index + 1]})[0], kept)
    np.testing.assert_array_equal(first, kept)


@needs_ncnn
def test_inputs_go_by_their_names_in_onnx(tmp_path: Path) -> None:
    a, b = make_floats(1, 3, 5, 7), np.ones((1, 3, 5, 7), dtype=np.float32)
    inputs = [describe_port("left", "in0", 1, 3, 5, 7), describe_port("right", "in1", 1, 3, 5, 7)]
    model = pack(DIFFERENCE, inputs, [describe_port("y", "out0", 1, 3, 5, 7)])
    feed = {"right": b, "left": a}
    np.testing.assert_array_equal(open_model(tmp_path, model, feed=feed).infer(feed)[0], a - b)


@needs_ncnn
def test_an_output_that_ncnn_does_not_compute_is_an_error(tmp_path: Path) -> None:
    outputs = [describe_port("y", "out0", 1, 10), describe_port("z", "out1", 1, 10)]
    model = pack(CLASSIFIER, [describe_port("x", "in0", 1, 3, 8, 8)], outputs, AS_FLOAT32 + WEIGHTS.tobytes())
    with pytest.raises(RuntimeError, match="ncnn did not compute z: code -1"):
        open_model(tmp_path, model).infer({"x": IMAGES[:1]})


@needs_ncnn
def test_an_input_that_ncnn_does_not_have_is_an_error(tmp_path: Path) -> None:
    """It would be ignored, with a line on stderr in every timed inference."""
    inputs = [describe_port("x", "in0", 1, 10), describe_port("unused", "in1", 1, 10)]
    feed = {"x": make_floats(1, 10), "unused": make_floats(1, 10)}
    session = open_model(tmp_path, pack(RELU, inputs, [describe_port("y", "out0", 1, 10)]), feed=feed)
    with pytest.raises(RuntimeError, match="no input for unused"):
        session.infer(feed)


@needs_ncnn
def test_a_batch_is_refused_when_it_is_opened_and_when_it_is_fed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one item at a time, not a batch of 2: x"):
        open_model(tmp_path, pack_classifier(), feed={"x": IMAGES[:2]})
    session = open_model(tmp_path, pack_classifier())
    with pytest.raises(ValueError, match="broadcast"):
        session.infer({"x": IMAGES[:2]})


@needs_ncnn
@pytest.mark.parametrize(
    ("feed", "message"),
    [
        ({"image": IMAGES[:1]}, "takes x, it is fed image"),
        ({"x": IMAGES[:1].astype(np.float64)}, "of float64"),
        ({"x": IMAGES[:1, :, :4]}, r"\[1, 3, 8, 8\] of float32, it is fed \[1, 3, 4, 8\]"),
    ],
)
def test_a_feed_that_does_not_fit_is_refused(tmp_path: Path, feed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_model(tmp_path, pack_classifier(), feed=feed)


@needs_ncnn
def test_what_ncnn_really_uses_is_recorded(tmp_path: Path) -> None:
    session = open_model(tmp_path, pack_classifier(), threads=1)
    session.infer({"x": IMAGES[:1]})
    described = session.describe()
    assert (described.provider, described.is_fallback, described.nodes) == ("CPU", False, {"CPU": 2})
    assert session.threads == described.settings["threads"] == 1
    assert described.settings["inference_precision"] == "f32"
    assert described.settings["stored_bits"] == 32
    assert described.settings["fp16_arithmetic"] is False
    assert described.settings["vulkan"] is False
    assert described.settings["converter"] == "by hand"
    assert [tuple(one) for one in session.inputs] == [("x", "tensor(float)", [1, 3, 8, 8])]


@needs_ncnn
def test_bf16_is_less_exact_and_recorded(tmp_path: Path) -> None:
    feed = {"x": IMAGES[:1]}
    exact = open_model(tmp_path, pack_classifier()).infer(feed)[0]
    session = open_model(tmp_path, pack_classifier(), options={"inference_precision": "bf16"})
    output = session.infer(feed)[0]
    assert 1e-4 < np.abs(output - exact).max() < 0.05 * np.abs(exact).max()
    assert session.describe().settings["inference_precision"] == "bf16"
    assert session.describe().settings["stored_bits"] == 16


@needs_ncnn
@pytest.mark.skipif(platform.machine() != "x86_64", reason="ARM has f16")
def test_f16_where_the_cpu_would_compute_in_f32_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not compute in f16 on this CPU: it keeps values in 32 bits"):
        open_model(tmp_path, pack_classifier(), options={"inference_precision": "f16"})


@needs_ncnn
@pytest.mark.parametrize(
    ("options", "message"),
    [({"spinning": True}, "ncnn knows no option 'spinning'"), ({"inference_precision": "int8"}, "int8")],
)
def test_an_unknown_option_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_model(tmp_path, pack_classifier(), options=options)


@needs_ncnn
def test_another_provider_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissing, match="GPU is no provider of ncnn; it has CPU"):
        ncnn.open_session(make_opening(tmp_path, pack_classifier(), "GPU"))


@needs_ncnn
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"\x08\x08 an ONNX file", "not packed for ncnn: the host converts"),
        (pack_classifier()[:-30], "not packed for ncnn"),
        (pack_classifier(AS_FLOAT32 + WEIGHTS.tobytes()[:100]), r"cannot read the model\.bin"),
        (pack(CLASSIFIER, [], [], format=2), "this agent reads format 1"),
        (pack("", [], []), "not packed for ncnn"),
    ],
)
def test_a_file_that_is_not_right_is_refused(tmp_path: Path, model: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_model(tmp_path, model)


@needs_ncnn
def test_an_unknown_layer_is_refused(tmp_path: Path) -> None:
    model = pack_relu(1, 3, 8, 8).replace(b"ReLU", b"Relu")  # of the same length, so only checksums are wrong
    with pytest.raises(Exception, match="CRC"):
        open_model(tmp_path, model)
    ports = [describe_port("x", "in0", 1, 3, 8, 8)], [describe_port("y", "out0", 1, 3, 8, 8)]
    with pytest.raises(ValueError, match=r"cannot read the model\.param"):
        open_model(tmp_path, pack(RELU.replace("ReLU", "Relu"), *ports))


@needs_ncnn
def test_nothing_is_left_in_the_cache(tmp_path: Path) -> None:
    open_model(tmp_path, pack_classifier())
    with pytest.raises(ValueError, match="cannot read"):
        open_model(tmp_path, pack_classifier(AS_FLOAT32))
    assert list((tmp_path / "engines").iterdir()) == []


COUNT_THREADS = """
import os, sys
import numpy
from device_agent.runtimes import ncnn
from device_agent.runtimes.session import Opening
feed = {"x": numpy.ones((1, 64, 32, 32), dtype=numpy.float32)}
before = set(os.listdir("/proc/self/task"))
session = ncnn.open_session(Opening(sys.argv[1], "", "CPU", int(sys.argv[2]), {}, feed, sys.argv[3]))
for _ in range(5):
    session.infer(feed)
print(len(set(os.listdir("/proc/self/task")) - before), session.threads)
"""


@needs_ncnn
@pytest.mark.parametrize("threads", [1, 2])
def test_so_many_threads_compute_as_were_asked(tmp_path: Path, threads: int) -> None:
    """One of them is the thread that asks."""
    model = tmp_path / "model"
    model.write_bytes(pack_relu(1, 64, 32, 32))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", COUNT_THREADS, model, str(threads), tmp_path / "cache"],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
        cwd=Path(__file__).resolve().parent.parent,
    )
    assert done.stdout.split() == [str(threads - 1), str(threads)]


@needs_ncnn
def test_a_probe_learns_the_version() -> None:
    described = ncnn.describe()
    assert described is not None
    assert described["version"] == ncnn.load().version
    assert (described["providers"], described["max_opset"]) == (["CPU"], None)


def test_a_board_without_ncnn_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    assert ncnn.describe() is None
    with pytest.raises(RuntimeMissing, match="Install ncnn"):
        ncnn.load()


@needs_ncnn
def test_the_agent_measures_with_ncnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    board = Board(tmp_path / "work", build_agent(tmp_path).path)
    cpu: dict[str, Any] = {"runtime": "ncnn", "provider": "CPU"}
    board.put_job(
        "r1",
        board.describe_task("f32", pack_classifier(), **cpu),
        board.describe_task("bf16", pack_classifier(), **cpu, options={"inference_precision": "bf16"}),
        board.describe_task("short", pack_classifier(AS_FLOAT32), **cpu),
    )
    results = {one["task"]: one for one in pick(board.measure("r1"), "result")}
    for name in ("f32", "bf16"):
        measured = results[name]["measurement"]
        assert (measured["provider"], measured["threads"]) == ("CPU", 1)
        assert measured["settings"]["inference_precision"] == name
        assert measured["nodes"] == {"CPU": 2}
        assert measured["accuracy"] is not None
        assert "fallback" not in measured["flags"]
    assert "cannot read the model.bin" in results["short"]["error"]["message"]
