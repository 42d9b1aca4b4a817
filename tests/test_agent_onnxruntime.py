"""ONNX Runtime on the agent: the package itself, and a stand-in for providers that need other hardware."""

from __future__ import annotations

import gc
import os
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi.onnxruntime_inference_collection import Session as OrtSession

from device_agent.measurement import find_load_ms
from device_agent.runtimes import onnxruntime as agent_onnxruntime
from device_agent.runtimes.onnxruntime_nodes import count_traced, judge_nodes
from device_agent.runtimes.onnxruntime_providers import chain_providers
from device_agent.runtimes.opset_probe import find_max_opset
from device_agent.runtimes.session import Description, RuntimeMissing
from host.fleet.agent_archive import build_agent
from tests.agent_board import IMAGES, Board, make_model, pick, run_model
from tests.runtime_models import MODELS, make_opening

CPU = "CPUExecutionProvider"
AZURE = "AzureExecutionProvider"  # in every wheel of the package index; it runs no node of ours
CUDA, TENSORRT, XNNPACK = "CUDAExecutionProvider", "TensorrtExecutionProvider", "XnnpackExecutionProvider"

_TRT_1_11 = {"trt_engine_cache_enable", "trt_engine_cache_path", "trt_fp16_enable", "trt_int8_enable"}
_TRT_1_17 = _TRT_1_11 | {"trt_timing_cache_enable", "trt_timing_cache_path"}


class StandIn:
    """onnxruntime with providers that are not here: it takes the options that the real ones take, computes on
    the CPU, and keeps what it was given.
    """

    def __init__(self, version: str, providers: list[str]) -> None:
        self.__version__ = version
        self.SessionOptions = onnxruntime.SessionOptions
        self.ExecutionMode = onnxruntime.ExecutionMode
        self.asked: list[Any] = []
        self.options: Any = None
        self.sessions: list[weakref.ref[Any]] = []
        self.fails_with: str | None = None
        self._providers = providers
        self.InferenceSession = self._make_session_class()

    def get_available_providers(self) -> list[str]:
        return [*self._providers, CPU]

    def _make_session_class(self) -> type:
        stand_in = self

        class InferenceSession(onnxruntime.InferenceSession):  # type: ignore[misc]  # it has no types
            def _create_inference_session(self, providers: Any, options: Any, disabled: Any = None) -> None:
                stand_in.asked = providers
                stand_in.options = self._sess_options
                stand_in.sessions.append(weakref.ref(self))
                self._fallback_providers = [CPU]
                if stand_in.fails_with is not None and CPU not in providers[:1]:
                    raise RuntimeError(stand_in.fails_with)
                for one in providers:
                    stand_in._check(*((one, {}) if isinstance(one, str) else one))
                super()._create_inference_session([CPU], None, disabled)

        return InferenceSession

    def _check(self, provider: str, options: dict[str, Any]) -> None:
        numbers = tuple(map(int, self.__version__.split(".")[:2]))
        known = {
            TENSORRT: _TRT_1_17 if numbers >= (1, 17) else _TRT_1_11,
            XNNPACK: {"intra_op_num_threads"},
        }.get(provider, set())
        for name in options:
            if name not in known:
                raise RuntimeError(f"Invalid {provider} option: {name}")
        if "trt_engine_cache_path" in options:
            engine = Path(options["trt_engine_cache_path"]) / "TensorrtExecutionProvider_graph_0_sm87.engine"
            if not engine.exists():
                engine.write_bytes(b"an engine")


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a stand-in where the agent imports onnxruntime."""

    def plant_stand_in(*providers: str, version: str = "1.31.1") -> StandIn:
        stand_in = StandIn(version, list(providers))
        monkeypatch.setattr(agent_onnxruntime, "import_onnxruntime", lambda: stand_in)
        return stand_in

    return plant_stand_in


@pytest.fixture
def without_assignments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The package as it was before 1.24, which did not tell where nodes are; the folder of traces."""
    monkeypatch.delattr(OrtSession, "get_provider_graph_assignment_info")
    traces = tmp_path / "traces"
    traces.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(traces))
    return traces


def test_every_node_on_the_cpu_is_no_fallback(tmp_path: Path) -> None:
    session = agent_onnxruntime.open_session(make_opening(tmp_path, make_model(), CPU))
    np.testing.assert_array_equal(session.infer({"x": IMAGES})[0], run_model(make_model(), IMAGES))
    described = session.describe()
    assert (described.provider, described.is_fallback) == (CPU, False)
    assert described.nodes == {CPU: 4}
    assert described.build_s is None


def test_a_provider_that_leaves_every_node_to_the_cpu_is_a_fallback(tmp_path: Path) -> None:
    session = agent_onnxruntime.open_session(make_opening(tmp_path, make_model(), AZURE))
    session.infer({"x": IMAGES})
    described = session.describe()
    assert (described.provider, described.is_fallback, described.nodes) == (CPU, True, {CPU: 4})
    assert described.settings["providers"] == [AZURE, CPU]


def test_an_older_version_is_asked_by_a_trace_of_the_first_inference(
    tmp_path: Path, without_assignments: Path
) -> None:
    session = agent_onnxruntime.open_session(make_opening(tmp_path, make_model(), AZURE))
    session.infer({"x": IMAGES})
    described = session.describe()
    assert (described.provider, described.is_fallback) == (CPU, True)
    assert described.nodes is not None
    assert described.nodes[CPU] >= 3  # after fusing; the file has four
    session.infer({"x": IMAGES})
    assert session.describe().nodes == described.nodes
    assert list(without_assignments.iterdir()) == []


def test_an_older_version_traces_nothing_on_the_cpu(tmp_path: Path, without_assignments: Path) -> None:
    session = agent_onnxruntime.open_session(make_opening(tmp_path, make_model(), CPU))
    session.infer({"x": IMAGES})
    described = session.describe()
    assert (described.provider, described.is_fallback, described.nodes) == (CPU, False, None)
    assert list(without_assignments.iterdir()) == []


def test_a_session_that_cannot_be_opened_leaves_no_trace(tmp_path: Path, without_assignments: Path) -> None:
    with pytest.raises(Exception, match="Protobuf parsing failed"):
        agent_onnxruntime.open_session(make_opening(tmp_path, b"not a model", AZURE))
    assert list(without_assignments.iterdir()) == []


def test_a_node_in_a_loop_counts_once() -> None:
    def ran(name: str, provider: str) -> dict[str, Any]:
        return {"cat": "Node", "name": name, "args": {"provider": provider, "op_name": "Conv"}}

    events = [
        {"cat": "Session", "name": "model_run", "args": {}},
        {"cat": "Node", "name": "a_fence_before", "args": {"op_name": "Conv"}},
        ran("a_kernel_time", CUDA),
        ran("a_kernel_time", CUDA),
        ran("b_kernel_time", CUDA),
        ran("c_kernel_time", CPU),
    ]
    assert count_traced(events) == {CUDA: 2, CPU: 1}


@pytest.mark.parametrize(
    ("nodes", "registered", "expected"),
    [
        ({CUDA: 9}, [CUDA, CPU], (CUDA, False)),
        ({CUDA: 9, CPU: 1}, [CUDA, CPU], (CUDA, True)),
        ({CUDA: 1, CPU: 9}, [CUDA, CPU], (CUDA, True)),
        ({CPU: 9}, [CUDA, CPU], (CPU, True)),
        (None, [CPU], (CPU, True)),
        (None, [CUDA, CPU], (CUDA, False)),
        ({}, [CUDA, CPU], (CUDA, False)),
    ],
)
def test_one_node_elsewhere_is_a_fallback(
    nodes: dict[str, int] | None, registered: list[str], expected: tuple[str, bool]
) -> None:
    assert tuple(judge_nodes(CUDA, nodes, registered)) == expected


def test_spinning_and_arena_reach_the_session_and_the_record(tmp_path: Path, plant: Any) -> None:
    stand_in = plant()
    options = {"spinning": False, "arena": False}
    asked = make_opening(tmp_path, make_model(), CPU, threads=2, options=options)
    settings = agent_onnxruntime.open_session(asked).describe().settings
    for pool in ("intra_op", "inter_op"):
        assert stand_in.options.get_session_config_entry(f"session.{pool}.allow_spinning") == "0"
    assert stand_in.options.enable_cpu_mem_arena is False
    assert stand_in.options.intra_op_num_threads == 2
    assert settings == {
        "threads": 2,
        "session_threads": 2,
        "spinning": False,
        "arena": False,
        "execution_mode": "ORT_SEQUENTIAL",
        "graph_optimization": "ORT_ENABLE_ALL",
        "fixed_dimensions": {},
        "provider_options": {},
        "providers": [CPU],
    }


def test_without_options_threads_spin_and_the_arena_is_used(tmp_path: Path, plant: Any) -> None:
    stand_in = plant()
    settings = agent_onnxruntime.open_session(make_opening(tmp_path, make_model(), CPU)).describe().settings
    assert (settings["spinning"], settings["arena"]) == (True, True)
    assert stand_in.options.get_session_config_entry("session.intra_op.allow_spinning") == "1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spining": False}, "onnxruntime knows no option 'spining'; it has arena, spinning"),
        ({"spinning": 1}, "onnxruntime: spinning is true or false, not 1"),
        ({"arena": None}, "onnxruntime: arena is true or false, not None"),
    ],
)
def test_an_unknown_option_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agent_onnxruntime.open_session(make_opening(tmp_path, make_model(), CPU, options=options))


def test_a_missing_provider_says_what_is_there_and_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissing, match=f"{CUDA} is not on the board; it has .*{CPU}.*onnxruntime-gpu"):
        agent_onnxruntime.open_session(make_opening(tmp_path, make_model(), CUDA))


def test_xnnpack_computes_in_its_own_threads(tmp_path: Path, plant: Any) -> None:
    stand_in = plant(XNNPACK)
    asked = make_opening(tmp_path, make_model(), XNNPACK, threads=4)
    session = agent_onnxruntime.open_session(asked)
    assert stand_in.asked == [(XNNPACK, {"intra_op_num_threads": "4"}), CPU]
    assert stand_in.options.intra_op_num_threads == 1
    assert stand_in.options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert session.threads == 4
    settings = session.describe().settings
    assert (settings["threads"], settings["session_threads"], settings["spinning"]) == (4, 1, False)
    assert settings["provider_options"] == {XNNPACK: {"intra_op_num_threads": "4"}}


@pytest.mark.parametrize(
    ("asked", "available", "expected"),
    [
        (CPU, [TENSORRT, CUDA, CPU], [CPU]),
        (CUDA, [TENSORRT, CUDA, CPU], [CUDA, CPU]),
        (TENSORRT, [TENSORRT, CUDA, CPU], [TENSORRT, CUDA, CPU]),
        (TENSORRT, [TENSORRT, CPU], [TENSORRT, CPU]),
    ],
)
def test_cuda_takes_what_tensorrt_leaves(asked: str, available: list[str], expected: list[str]) -> None:
    assert chain_providers(asked, available) == expected


@pytest.mark.parametrize(
    ("precision", "half", "quantized"),
    [("fp32", False, False), ("fp16", True, False), ("int8", False, True)],
)
def test_tensorrt_may_use_the_types_of_the_file_and_no_other(
    tmp_path: Path, plant: Any, precision: str, half: bool, quantized: bool
) -> None:
    stand_in = plant(TENSORRT, CUDA)
    agent_onnxruntime.open_session(make_opening(tmp_path, MODELS[precision](), TENSORRT))
    name, options = stand_in.asked[0]
    assert (name, stand_in.asked[1:]) == (TENSORRT, [CUDA, CPU])
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == (half, quantized)
    assert not any("calibration" in key for key in options)  # a Q/DQ file must not come with a table


def test_tensorrt_builds_once_and_says_how_long_it_took(tmp_path: Path, plant: Any) -> None:
    stand_in = plant(TENSORRT)
    asked = make_opening(tmp_path, make_model(), TENSORRT)
    first = agent_onnxruntime.open_session(asked).describe()
    options = dict(stand_in.asked[0][1])
    again = agent_onnxruntime.open_session(asked).describe()
    assert first.build_s is not None
    assert first.build_s > 0
    assert again.build_s is None
    assert stand_in.asked[0][1] == options
    assert options["trt_engine_cache_path"].startswith(asked.cache + "/ort-trt/" + asked.sha256[:16])
    assert options["trt_timing_cache_path"] == asked.cache + "/ort-trt"
    assert not any("_path" in key for key in first.settings["provider_options"][TENSORRT])


@pytest.mark.parametrize("date", [0.0, 4e9])
def test_a_board_whose_date_is_set_meanwhile_tells_how_long_it_built_all_the_same(
    tmp_path: Path, plant: Any, monkeypatch: pytest.MonkeyPatch, date: float
) -> None:
    stand_in = plant(TENSORRT)
    check = stand_in._check

    def build_and_set_date(provider: str, options: dict[str, Any]) -> None:
        check(provider, options)
        for engine in Path(options["trt_engine_cache_path"]).glob("*.engine") if options else ():
            os.utime(engine, (date, date))

    monkeypatch.setattr(stand_in, "_check", build_and_set_date)
    began = time.monotonic()
    described = agent_onnxruntime.open_session(make_opening(tmp_path, make_model(), TENSORRT)).describe()
    assert described.build_s is not None
    assert 0 < described.build_s <= time.monotonic() - began


def test_an_engine_that_the_first_inference_built_counts_and_what_came_later_does_not(
    tmp_path: Path, plant: Any
) -> None:
    stand_in = plant(TENSORRT)
    asked = make_opening(tmp_path, make_model(), TENSORRT)
    agent_onnxruntime.open_session(asked)
    folder = Path(stand_in.asked[0][1]["trt_engine_cache_path"])
    early, late = agent_onnxruntime.open_session(asked), agent_onnxruntime.open_session(asked)
    assert late.describe().build_s is None
    (folder / "of_the_first_inference.engine").write_bytes(b"an engine")
    built = early.describe().build_s
    assert built is not None
    assert (early.describe().build_s, late.describe().build_s) == (built, None)


def test_loading_is_told_only_where_building_is_timed_apart_from_it() -> None:
    apart = Description("GPU", is_fallback=False, settings={}, build_s=2.0)
    assert find_load_ms(2500.0, apart) == 500.0
    assert (
        find_load_ms(1900.0, apart) is None
    )  # two clocks, or a build in the first inference: no measured zero
    assert find_load_ms(2500.0, apart._replace(is_build_apart=False)) is None
    assert find_load_ms(2500.0, apart._replace(build_s=None, is_build_apart=False)) == 2500.0


def test_another_batch_gets_an_engine_of_its_own(tmp_path: Path, plant: Any) -> None:
    stand_in = plant(TENSORRT)
    folders, sizes = set(), []
    for batch in (1, 4):
        asked = make_opening(tmp_path, make_model(), TENSORRT, feed={"x": IMAGES[:batch]})
        session = agent_onnxruntime.open_session(asked)
        folders.add(stand_in.asked[0][1]["trt_engine_cache_path"])
        sizes.append(session.describe().settings["fixed_dimensions"])
        assert session.inputs[0].shape[0] == batch  # so it is built when it is opened, not at an inference
    assert len(folders) == 2
    assert sizes == [{"n": 1}, {"n": 4}]


def test_an_old_version_gets_no_option_that_it_would_refuse(tmp_path: Path, plant: Any) -> None:
    stand_in = plant(TENSORRT, version="1.11.0")
    agent_onnxruntime.open_session(make_opening(tmp_path, make_model(), TENSORRT))
    assert set(stand_in.asked[0][1]) == _TRT_1_11


def test_a_provider_that_fails_is_an_error_and_not_another_provider(tmp_path: Path, plant: Any) -> None:
    stand_in = plant(TENSORRT)
    stand_in.fails_with = "TensorRT EP could not build engine for fused node"
    with pytest.raises(RuntimeError, match="could not build engine"):
        agent_onnxruntime.open_session(make_opening(tmp_path, make_model(), TENSORRT))


def test_closing_releases_the_model(tmp_path: Path, plant: Any) -> None:
    stand_in = plant()
    session = agent_onnxruntime.open_session(make_opening(tmp_path, make_model(), CPU))
    session.infer({"x": IMAGES})
    gc.collect()
    assert stand_in.sessions[0]() is not None
    session.close()
    gc.collect()
    assert stand_in.sessions[0]() is None


def test_a_probe_tells_version_providers_and_opset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    told = agent_onnxruntime.describe()
    assert told is not None
    assert told["version"] == onnxruntime.__version__
    assert CPU in told["providers"]
    assert 17 <= told["max_opset"] < 100
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_a_runtime_that_reads_opsets_that_do_not_exist_has_no_newest_one() -> None:
    assert find_max_opset(lambda model: True) is None


def test_the_agent_measures_with_options_and_tells_what_ran(tmp_path: Path) -> None:
    board = Board(tmp_path / "work", build_agent(tmp_path).path)
    quiet = {"spinning": False, "arena": False}
    board.put_job(
        "r1",
        board.describe_task("quiet", make_model(), threads=2, options=quiet),
        board.describe_task("azure", make_model(), provider=AZURE),
        board.describe_task("typo", make_model(), options={"spining": False}),
    )
    results = {one["task"]: one for one in pick(board.measure("r1"), "result")}
    measured = results["quiet"]["measurement"]
    assert measured["settings"]["spinning"] is False
    assert measured["settings"]["arena"] is False
    assert measured["nodes"] == {CPU: 4}
    assert "fallback" not in measured["flags"]
    assert results["azure"]["measurement"]["provider"] == CPU
    assert "fallback" in results["azure"]["measurement"]["flags"]
    assert "knows no option 'spining'" in results["typo"]["error"]["message"]
