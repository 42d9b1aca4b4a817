"""TensorRT's Python API on stand-ins of its releases: engines, their cache, CUDA's memory, and refusals."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from device_agent.runtimes import tensorrt, tensorrt_recipe
from device_agent.runtimes.cudart import CudaError, load_cudart
from device_agent.runtimes.session import Opening, RuntimeMissing, Session
from device_agent.runtimes.tensorrt_engine import EngineRefused
from host.fleet.agent_archive import build_agent
from tests.agent_board import IMAGES, Board, make_model, pack_model, pick, run_model
from tests.stand_ins import installing

RELEASES = ("8.2.1", "8.5.2", "8.6.1", "10.3.0", "11.4.0")
API = json.loads((Path(__file__).parent / "recordings" / "tensorrt_api.json").read_text())
# The published bindings nearest to a release; those of 8.2 were never on an index.
RECORDED = {"8.2.1": "8.4", "8.5.2": "8.5", "8.6.1": "8.6", "10.3.0": "10.3", "11.4.0": "11.4"}

Open = Callable[..., Session]


@pytest.fixture(scope="session")
def cuda_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installing.build_cuda(tmp_path_factory.mktemp("cuda"))


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """Each release in turn, unless a test names some."""
    name: str = request.param
    return name


@pytest.fixture
def trt(release: str, cuda_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module `tensorrt` of a release, as a board has it."""
    environment = installing.list_python_environment(release, cuda_home)
    monkeypatch.syspath_prepend(environment.pop("PYTHONPATH"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    sys.modules.pop("tensorrt", None)
    yield importlib.import_module("tensorrt")
    sys.modules.pop("tensorrt", None)


@pytest.fixture
def open_model(trt: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens the bytes of a model with a feed; everything is closed in the end."""
    opened: list[Session] = []

    def open_one(model: bytes, feed: dict[str, Any], sha256: str = "0" * 64, **changes: Any) -> Session:
        path = tmp_path / "model"
        path.write_bytes(model)
        asked = Opening(
            model=str(path), sha256=sha256, provider="GPU", threads=None, options={}, feed=feed,
            cache=str(tmp_path / "engines"),
        )  # fmt: skip
        opened.append(tensorrt.load().open(asked._replace(**changes)))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def feed_images(count: int = 1) -> dict[str, Any]:
    return {"x": IMAGES[:count]}


def make_half_model() -> bytes:
    """y = x · weights, all of it float16."""
    weights = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float16)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        "half",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [1, 8])],
        [numpy_helper.from_array(weights, "weights")],
    )
    return save(graph)


def make_quantized_model(batch: int | str = 1) -> bytes:
    """The input through a pair of Q/DQ nodes, then a relu."""
    constants = [
        numpy_helper.from_array(np.array(0.05, dtype=np.float32), "scale"),
        numpy_helper.from_array(np.array(0, dtype=np.int8), "zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    return pack_model(nodes, constants, 17, batch)


def make_gather_model() -> bytes:
    """Rows of a table by 64-bit indices."""
    table = numpy_helper.from_array(np.arange(20, dtype=np.float32).reshape(10, 2), "table")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        "gather",
        [helper.make_tensor_value_info("x", TensorProto.INT64, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 2])],
        [table],
    )
    return save(graph)


def save(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


def list_engines(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "engines").rglob("*.engine"))


def test_an_engine_computes_what_the_model_says(open_model: Open) -> None:
    model = make_model()
    session = open_model(model, feed_images())
    for image in IMAGES[:3]:
        (output,) = session.infer({"x": image[None]})
        np.testing.assert_allclose(output, run_model(model, image[None]), rtol=1e-5)


def test_outputs_are_not_overwritten_by_the_next_inference(open_model: Open) -> None:
    session = open_model(make_model(), feed_images())
    (first,) = session.infer({"x": IMAGES[:1]})
    before = first.copy()
    session.infer({"x": IMAGES[1:2]})
    np.testing.assert_array_equal(first, before)


def test_an_open_batch_gets_the_shape_of_the_feed(open_model: Open) -> None:
    session = open_model(make_model(batch="n"), feed_images(4))
    assert session.inputs == [("x", "float32", [4, 3, 8, 8])]
    (output,) = session.infer(feed_images(4))
    assert output.shape == (4, 10)
    with pytest.raises(ValueError, match=r"shape \(1, 3, 8, 8\)"):
        session.infer(feed_images(1))


def test_the_session_says_what_ran(open_model: Open, release: str) -> None:
    described = open_model(make_quantized_model(), feed_images()).describe()
    settings = described.settings
    assert (described.provider, described.is_fallback) == ("GPU", False)
    assert described.nodes == {"GPU": 3}
    assert (settings["precisions"], settings["via"]) == (["int8"], "python")
    assert settings["strongly_typed"] == (int(release.split(".")[0]) >= 10)
    assert settings["compute_capability"] == "8.7"
    assert settings["cuda_graph"] is False
    json.dumps(settings)


def test_halves_stay_halves(open_model: Open) -> None:
    model, row = make_half_model(), np.linspace(-1, 1, 8, dtype=np.float16)[None]
    session = open_model(model, {"x": row})
    (output,) = session.infer({"x": row})
    assert output.dtype == np.float16
    np.testing.assert_array_equal(output, run_model(model, row))
    assert session.describe().settings["precisions"] == ["fp16"]


def test_indices_of_64_bits_are_taken(open_model: Open) -> None:
    (output,) = open_model(make_gather_model(), {"x": np.array([9, 0, 4])}).infer({"x": np.array([1, 2, 3])})
    np.testing.assert_array_equal(output, [[2, 3], [4, 5], [6, 7]])


def test_an_engine_is_built_once(open_model: Open, tmp_path: Path) -> None:
    built = open_model(make_model(), feed_images()).describe()
    again = open_model(make_model(), feed_images()).describe()
    assert built.build_s is not None
    assert again.build_s is None
    assert (built.settings["engine"], again.settings["engine"]) == ("built", "cached")
    assert len(list_engines(tmp_path)) == 1


@pytest.mark.parametrize("release", ["8.5.2"], indirect=True)
def test_another_model_or_shape_is_another_engine(open_model: Open, tmp_path: Path) -> None:
    open_model(make_model(), feed_images())
    open_model(make_model(), feed_images(2))
    open_model(make_model(), feed_images(), sha256="1" * 64)
    assert len(list_engines(tmp_path)) == 3


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.99])
def test_a_torn_engine_is_built_anew(open_model: Open, tmp_path: Path, share: float) -> None:
    open_model(make_model(), feed_images())
    (engine,) = list_engines(tmp_path)
    whole = engine.read_bytes()
    engine.write_bytes(whole[: int(share * len(whole))])
    assert open_model(make_model(), feed_images()).describe().build_s is not None
    assert engine.read_bytes() == whole


@pytest.mark.parametrize("release", ["10.3.0"], indirect=True)
def test_the_engine_of_another_release_is_not_taken(
    open_model: Open, tmp_path: Path, trt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_model(make_model(), feed_images())
    (old,) = list_engines(tmp_path)
    monkeypatch.setattr(trt, "__version__", "10.4.0")
    assert open_model(make_model(), feed_images()).describe().build_s is not None
    new = next(one for one in list_engines(tmp_path) if one != old)
    # Even under the right name, a plan of the wrong release is refused and replaced.
    shutil.copy(old, new)
    assert open_model(make_model(), feed_images()).describe().build_s is not None


def test_computing_is_timed_apart_from_copying(open_model: Open) -> None:
    session = open_model(make_model(), feed_images())
    assert session.time_compute is not None
    assert session.time_compute(feed_images()) > 0
    (output,) = session.infer(feed_images())
    np.testing.assert_allclose(output, run_model(make_model(), IMAGES[:1]), rtol=1e-5)


def test_all_memory_is_given_back(open_model: Open) -> None:
    library = load_cudart()._library
    before = library.stand_in_count_blocks()
    session = open_model(make_model(), feed_images())
    assert library.stand_in_count_blocks() == before + 4
    session.close()
    assert library.stand_in_count_blocks() == before


def test_a_broken_model_is_refused_with_the_parsers_words(open_model: Open) -> None:
    with pytest.raises((EngineRefused, ValueError), match="ONNX"):
        open_model(b"\x0a\x03abc", feed_images())


def test_what_the_builder_logged_is_in_the_refusal(open_model: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_recipe, "is_open", lambda _: False)
    from device_agent.runtimes import tensorrt_engine

    monkeypatch.setattr(tensorrt_engine, "_fix_shapes", lambda *_: None)
    with pytest.raises(EngineRefused, match="no optimization profile has been defined"):
        open_model(make_model(batch="n"), feed_images())


@pytest.mark.parametrize("release", ["8.2.1", "8.6.1"], indirect=True)
def test_a_weakly_typed_network_needs_its_flags(open_model: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is the flags from the file that let the other tests pass."""
    forget = tensorrt_recipe.write_recipe
    monkeypatch.setattr(
        tensorrt, "write_recipe", lambda asked, types: forget(asked, types)._replace(precisions=[])
    )
    with pytest.raises(EngineRefused, match="int8 is not configured in the builder"):
        open_model(make_quantized_model(), feed_images())
    with pytest.raises(EngineRefused, match="fp16 is not configured in the builder"):
        open_model(make_half_model(), {"x": np.zeros((1, 8), dtype=np.float16)})


@pytest.mark.parametrize("release", ["8.5.2"], indirect=True)
def test_an_option_or_provider_that_there_is_not_is_refused(open_model: Open) -> None:
    with pytest.raises(ValueError, match="no option 'streams'"):
        open_model(make_model(), feed_images(), options={"streams": 2})
    with pytest.raises(RuntimeMissing, match="has no DLA; it has GPU"):
        open_model(make_model(), feed_images(), provider="DLA")
    with pytest.raises(ValueError, match="the feeds have no x"):
        open_model(make_model(), {"image": IMAGES[:1]})


@pytest.mark.parametrize("release", ["8.5.2"], indirect=True)
def test_cudas_refusals_have_the_errors_name(open_model: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_model(make_model(), feed_images())
    library = load_cudart()._library
    library.stand_in_fail()
    with pytest.raises(CudaError, match=r"cudaStreamSynchronize: cudaErrorIllegalAddress \(an illegal"):
        session.infer(feed_images())
    monkeypatch.setenv("STAND_IN_GPU_BYTES", "1")
    with pytest.raises(CudaError, match=r"cudaMalloc: cudaErrorMemoryAllocation \(out of memory\)"):
        open_model(make_model(), feed_images())
    monkeypatch.setenv("STAND_IN_GPUS", "0")
    with pytest.raises(CudaError, match="cudaErrorNoDevice"):
        open_model(make_model(), feed_images())


def test_the_probe_is_told_version_and_provider(trt: Any, release: str) -> None:
    described = tensorrt.describe()
    assert described is not None
    assert described["version"] == release
    assert (described["providers"], described["via"]) == (["GPU"], "python")
    assert described["max_opset"] == {"8.2.1": 13, "8.5.2": 17, "8.6.1": 17}.get(release)


def test_a_board_without_tensorrt_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # as Python marks what it cannot import
    assert tensorrt.describe() is None
    with pytest.raises(RuntimeMissing, match="sudo apt install python3-libnvinfer"):
        tensorrt.load()


@pytest.mark.parametrize("release", ["7.1.3"], indirect=True)
def test_a_release_before_8_is_too_old(trt: Any) -> None:
    with pytest.raises(RuntimeMissing, match=r"JetPack 4\.6"):
        tensorrt.load()


def test_a_board_without_cuda_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from device_agent.runtimes import cudart

    monkeypatch.setattr(cudart, "_list_candidates", lambda: iter(["/nowhere/libcudart.so"]))
    with pytest.raises(RuntimeMissing, match="sudo apt install nvidia-jetpack"):
        load_cudart()


def test_the_stand_in_has_no_name_that_the_real_one_has_not(trt: Any, release: str) -> None:
    """Else code that runs here might not run on a board."""
    recorded = API[RECORDED[release]]
    for kind, names in recorded.items():
        own = trt if kind == "tensorrt" else getattr(trt, kind, None)
        modules = (
            {"ctypes", "enum", "json", "os", "struct", "zlib"} if kind == "tensorrt" else {"name", "value"}
        )
        public = {name for name in dir(own) if not name.startswith("_")} if own is not None else set()
        assert public - modules <= set(names), kind
        assert (own is not None) <= (kind == "tensorrt" or kind in recorded["tensorrt"])


@pytest.mark.parametrize(("total_mb", "expected"), [(None, 256), (3956, 512), (7620, 1024), (65536, 4096)])
def test_the_workspace_is_a_share_of_all_memory(total_mb: float | None, expected: int) -> None:
    assert tensorrt_recipe.choose_workspace(total_mb) == expected


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "work", build_agent(tmp_path).path)


@pytest.mark.parametrize("release", ["8.2.1", "10.3.0"])
def test_a_run_measures_latency_computing_and_accuracy(
    board: Board, cuda_home: Path, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    for name, value in installing.list_python_environment(release, cuda_home).items():
        monkeypatch.setenv(name, value)
    tasks = [
        board.describe_task("trt", make_model(), runtime="tensorrt", provider="GPU", threads=None),
        board.describe_task("ort", make_model()),
    ]
    board.put_job("r", *tasks)
    events = board.measure("r")
    trt, ort = (pick(events, "result", name)[0]["measurement"] for name in ("trt", "ort"))
    assert (trt["runtime_version"], trt["provider"], trt["threads"]) == (release, "GPU", None)
    assert trt["build_s"] > 0
    assert trt["load_ms"] > 0
    assert trt["compute_ms"] > 0
    assert trt["accuracy"] == ort["accuracy"]
    assert "fallback" not in trt["flags"]
    assert trt["settings"]["cuda"].endswith("libcudart.so via ctypes")
