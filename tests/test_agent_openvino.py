"""OpenVINO on the agent, for real where the package is."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
import weakref
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.runtimes import openvino
from device_agent.runtimes.session import RuntimeMissing
from host.fleet.agent_archive import build_agent
from tests.agent_board import IMAGES, Board, make_model, pick, run_model
from tests.runtime_models import make_opening, make_quantized_model

# Not pytest.importorskip: importing the package without the agent's care reports to its maker.
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")


@needs_openvino
def test_outputs_agree_with_onnxruntime(tmp_path: Path) -> None:
    session = openvino.open_session(make_opening(tmp_path, make_model(), "CPU", feed={"x": IMAGES}))
    outputs = session.infer({"x": IMAGES})
    expected = run_model(make_model(), IMAGES)
    np.testing.assert_allclose(outputs[0], expected, rtol=1e-4, atol=1e-4)
    assert len(outputs) == 1
    assert outputs[0].dtype == np.float32


@needs_openvino
def test_an_int8_model_agrees_with_onnxruntime(tmp_path: Path) -> None:
    model = make_quantized_model()
    session = openvino.open_session(make_opening(tmp_path, model, "CPU", feed={"x": IMAGES}))
    outputs, expected = session.infer({"x": IMAGES})[0], run_model(model, IMAGES)
    np.testing.assert_array_equal(outputs.argmax(axis=1), expected.argmax(axis=1))
    # One step of the activations times the largest weight: rounding may differ in a few of them.
    assert np.abs(outputs - expected).max() <= 4 * 0.1 * 1.27


@needs_openvino
def test_outputs_outlive_the_next_inference(tmp_path: Path) -> None:
    session = openvino.open_session(make_opening(tmp_path, make_model(), "CPU"))
    first = session.infer({"x": IMAGES[:1]})[0]
    kept = first.copy()
    session.infer({"x": IMAGES[1:2]})
    np.testing.assert_array_equal(first, kept)
    session.close()
    np.testing.assert_array_equal(first, kept)


@needs_openvino
def test_an_open_batch_is_compiled_for_the_feed(tmp_path: Path) -> None:
    session = openvino.open_session(make_opening(tmp_path, make_model(), "CPU", feed={"x": IMAGES[:2]}))
    assert session.inputs[0].name == "x"
    assert session.inputs[0].shape == [None, 3, 8, 8]
    assert session.infer({"x": IMAGES[:2]})[0].shape == (2, 10)
    with pytest.raises(Exception, match="shape"):
        session.infer({"x": IMAGES[:3]})


@needs_openvino
def test_what_openvino_really_uses_is_recorded(tmp_path: Path) -> None:
    session = openvino.open_session(make_opening(tmp_path, make_model(), "CPU", threads=1))
    session.infer({"x": IMAGES[:1]})
    described = session.describe()
    assert (described.provider, described.is_fallback, described.build_s) == ("CPU", False, None)
    assert described.nodes is not None
    assert described.nodes["CPU"] >= 3
    settings = described.settings
    assert settings["inference_precision"] == "f32"
    assert settings["PERFORMANCE_HINT"] == "LATENCY"
    assert settings["ENABLE_CPU_PINNING"] is False
    assert (settings["NUM_STREAMS"], settings["INFERENCE_NUM_THREADS"], session.threads) == (1, 1, 1)


@needs_openvino
def test_no_thread_is_pinned(tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    model = make_model(512)  # enough work for every thread to begin
    session = openvino.open_session(make_opening(tmp_path, model, "CPU", threads=len(cores)))
    for _ in range(20):
        session.infer({"x": IMAGES[:1]})
    threads = [int(one.name) for one in Path("/proc/self/task").iterdir()]
    assert all(os.sched_getaffinity(thread) == cores for thread in threads)


@needs_openvino
def test_another_precision_is_used_or_refused_and_never_swapped(tmp_path: Path) -> None:
    for wanted in ("f16", "bf16"):
        asked = make_opening(tmp_path, make_model(), "CPU", options={"inference_precision": wanted})
        try:
            settings = openvino.open_session(asked).describe().settings
        except ValueError as refused:
            assert f"inference_precision {wanted} is not what openvino computes in" in str(refused)
        else:
            assert settings["inference_precision"] == wanted


@needs_openvino
@pytest.mark.skipif(platform.machine() != "x86_64", reason="ARM computes in f16")
def test_half_precision_on_x86_is_refused(tmp_path: Path) -> None:
    asked = make_opening(tmp_path, make_model(), "CPU", options={"inference_precision": "f16"})
    with pytest.raises(ValueError, match="it takes f32"):
        openvino.open_session(asked)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spinning": True}, "openvino knows no option 'spinning'; it has inference_precision"),
        ({"inference_precision": "fp16"}, '"f32" or "f16" or "bf16", not \'fp16\''),
    ],
)
def test_an_unknown_option_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        openvino.open_session(make_opening(tmp_path, make_model(), "CPU", options=options))


@needs_openvino
def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissing, match="TPU is no device of openvino here; it has CPU"):
        openvino.open_session(make_opening(tmp_path, make_model(), "TPU"))


@needs_openvino
def test_closing_releases_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = openvino._import_openvino()
    made: list[weakref.ref[Any]] = []
    create = package.CompiledModel.create_infer_request

    def keep_watch(compiled: Any) -> Any:
        request = create(compiled)
        made.extend([weakref.ref(compiled), weakref.ref(request)])
        return request

    monkeypatch.setattr(package.CompiledModel, "create_infer_request", keep_watch)
    session = openvino.open_session(make_opening(tmp_path, make_model(), "CPU"))
    session.infer({"x": IMAGES[:1]})
    gc.collect()
    assert all(one() is not None for one in made)
    session.close()
    gc.collect()
    assert [one() for one in made] == [None, None]


@needs_openvino
def test_a_probe_tells_version_and_devices() -> None:
    told = openvino.describe()
    assert told is not None
    assert told["version"] == openvino.load().version
    assert told["version"].count(".") == 2
    assert "CPU" in told["providers"]
    assert told["max_opset"] is None  # it reads what it does not know as something that it knows


@needs_openvino
def test_nothing_is_told_to_the_maker_and_nothing_written_to_the_home(tmp_path: Path) -> None:
    words = (
        "import sys; from device_agent.runtimes import openvino; openvino.load(); openvino.describe(); "
        "print([name for name, module in sys.modules.items() if 'openvino_telemetry' in name and module])"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in (str(Path.cwd()), *sys.path) if path)
    for name in ("CI", "TF_BUILD", "JENKINS_URL"):  # its own reasons to keep quiet
        environment.pop(name, None)
    told = subprocess.run([sys.executable, "-c", words], env=environment, capture_output=True, check=True)
    assert told.stdout.decode().strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeMissing, match="Install openvino for the board's Python"):
        openvino.load()
    assert openvino.describe() is None


def test_a_package_that_is_too_old_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", type(sys)("openvino"))
    with pytest.raises(RuntimeMissing, match=r"older than 2023\.1"):
        openvino.load()


@needs_openvino
def test_the_agent_measures_with_openvino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    board = Board(tmp_path / "work", build_agent(tmp_path).path)
    cpu: dict[str, Any] = {"runtime": "openvino", "provider": "CPU"}
    board.put_job(
        "r1",
        board.describe_task("fp32", make_model(), **cpu, options={"inference_precision": "f32"}),
        board.describe_task("int8", make_quantized_model(), **cpu),
        board.describe_task("gpu", make_model(), **{**cpu, "provider": "TPU"}),
    )
    results = {one["task"]: one for one in pick(board.measure("r1"), "result")}
    for name in ("fp32", "int8"):
        measured = results[name]["measurement"]
        assert (measured["provider"], measured["threads"]) == ("CPU", 1)
        assert measured["settings"]["inference_precision"] == "f32"
        assert measured["nodes"]["CPU"] >= 3
        assert measured["accuracy"] is not None
        assert "fallback" not in measured["flags"]
    assert "TPU is no device of openvino" in results["gpu"]["error"]["message"]
