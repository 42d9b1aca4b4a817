"""The agent's command `profile`, with the real runtime; and the traces of three releases of onnxruntime."""

from __future__ import annotations

import fcntl
import io
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import onnx
import pytest

from device_agent import protocol
from device_agent.profile_piece import fit_answer, middle_mean, read_instructions, summarize_trace
from device_agent.runtimes.onnx_graph import read_nodes
from device_agent.runtimes.onnxruntime_profile import read_trace
from device_agent.runtimes.tracing import Trace
from host.compress.blank_model import NODES, write_blank_model
from host.fleet.agent_archive import build_agent
from tests.agent_board import IMAGES, Board, make_model, pack_arrays
from tests.made_quantized import SHAPE, make_network

RECORDED = Path(__file__).parent / "recordings" / "onnxruntime_traces.jsonl"
RECORDINGS = [json.loads(line) for line in RECORDED.read_text().splitlines()]
NAMES = [f"{one['onnxruntime']}-{one['network']}" for one in RECORDINGS]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "work", build_agent(tmp_path).path)


def ask(board: Board, model: bytes, /, **changes: Any) -> tuple[int, Any]:
    """The answer to a question about a model of one image input."""
    blank = write_blank_model(board.work.parent / "blank").path.read_bytes()
    question = {
        "schema": protocol.SCHEMA,
        "holder": "ann@laptop",
        "layer": None,
        "runtime": "onnxruntime",
        "provider": "CPUExecutionProvider",
        "threads": 1,
        "options": {},
        "model": board.put_blob(model),
        "feeds": board.put_blob(pack_arrays(x=IMAGES[:4].reshape(4, 1, 3, 8, 8))),
        "blank": board.put_blob(blank),
        "seconds": 0.05,
        "inferences": 8,
        "file_nodes": 4,
        "timeout_s": 60,
        **changes,
    }
    return board.call("profile", stdin=json.dumps(question).encode())


def test_every_node_that_ran_has_its_time(board: Board) -> None:
    code, answer = ask(board, make_model())
    assert code == 0, answer
    ops = [node["op"] for node in answer["nodes"]]
    assert ops[0] == "Conv"
    assert {"MatMul", "Gemm"} & set(ops)
    assert all(node["calls"] == 1 and node["provider"] == "CPUExecutionProvider" for node in answer["nodes"])
    assert sum(node["middle_us"] for node in answer["nodes"]) <= 1.5 * answer["runs_us"]
    assert answer["inferences"] >= 8
    assert answer["floor_us"] >= 0
    assert 0 < answer["untraced_ms"]["p25"] <= answer["untraced_ms"]["p50"]
    assert answer["threads"] == 1


def test_the_graph_that_ran_comes_with_the_names_of_its_tensors(board: Board) -> None:
    _, answer = ask(board, make_model())
    assert sorted(node["op"] for node in answer["nodes"]) == sorted(node["op"] for node in answer["graph"])
    assert any("y" in node["outputs"] for node in answer["graph"])
    assert any("x" in node["inputs"] for node in answer["graph"])


def test_nothing_is_left_on_the_board(board: Board) -> None:
    ask(board, make_model())
    assert not (board.work / "profiling").exists()
    assert board.call("status")[1] == {"holder": None}


def test_a_board_that_measures_is_not_disturbed(board: Board) -> None:
    board.work.mkdir()
    with (board.work / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, answer = ask(board, make_model())
    assert code == protocol.EXIT_LOCKED
    assert answer["error"]["kind"] == protocol.ERROR_LOCKED


@pytest.fixture
def layer(board: Board) -> Callable[[str], str]:
    """Makes a layer whose onnxruntime does what a test wants."""

    def make(code: str) -> str:
        folder = board.work / "layers" / ("a" * 64) / "onnxruntime"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(code)
        return "a" * 64

    return make


def test_a_crash_is_told_with_its_signal(board: Board, layer: Any) -> None:
    dying = layer(f"import os\nprint('last words', flush=True)\nos.kill(os.getpid(), {int(signal.SIGSEGV)})")
    code, answer = ask(board, make_model(), layer=dying)
    assert code == protocol.EXIT_FAULT
    assert answer["error"]["kind"] == protocol.FAILED_CRASH
    assert "SIGSEGV" in answer["error"]["message"]
    assert "last words" in answer["error"]["message"]
    assert board.call("status")[1] == {"holder": None}


def test_a_hang_ends(board: Board, layer: Any) -> None:
    hanging = layer("import time\ntime.sleep(600)")
    _, answer = ask(board, make_model(), layer=hanging, timeout_s=1)
    assert answer["error"]["kind"] == protocol.FAILED_HANG
    assert board.call("status")[1] == {"holder": None}


def test_it_ends_when_nobody_waits_for_its_answer(board: Board, layer: Any) -> None:
    hanging = layer("import time\ntime.sleep(600)")
    asked = {"schema": 1, "holder": "ann", "layer": hanging, "runtime": "onnxruntime", "provider": "CPU"}
    asked |= {"threads": 1, "options": {}, "seconds": 1, "inferences": 1, "file_nodes": 1, "timeout_s": 500}
    asked |= dict.fromkeys(("model", "feeds", "blank"), board.put_blob(make_model()))
    stdin = io.BytesIO(json.dumps(asked).encode())
    with board.start_call("profile", stdin=-1, stderr=-1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(stdin.read())
        process.stdin.close()
        process.stdout.close()  # as when the link is lost
        assert process.wait(60) != 0
    assert board.call("status")[1] == {"holder": None}


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"provider": "CUDAExecutionProvider"}, protocol.FAILED_MISSING),
        ({"runtime": "abacus"}, protocol.FAILED_MISSING),
        ({"options": {"colour": "red"}}, protocol.FAILED_OPEN),
        ({"model": "0" * 64}, protocol.ERROR_MISSING),
        ({"model": "../../etc/passwd"}, protocol.ERROR_BAD_JOB),
        ({"threads": 0}, protocol.ERROR_BAD_JOB),
        ({"seconds": "long"}, protocol.ERROR_BAD_JOB),
        ({"schema": 99}, protocol.ERROR_BAD_JOB),
    ],
)
def test_what_cannot_be_done_is_told(board: Board, change: dict[str, Any], kind: str) -> None:
    code, answer = ask(board, make_model(), **change)
    assert code == protocol.EXIT_FAULT
    assert answer["error"]["kind"] == kind


def test_a_model_that_the_runtime_refuses_is_told(board: Board) -> None:
    _, answer = ask(board, b"nonsense")
    assert answer["error"]["kind"] == protocol.FAILED_OPEN


def test_a_quantized_network_tells_shapes_and_every_conversion(board: Board, tmp_path: Path) -> None:
    model = make_network(tmp_path / "int8.onnx", is_quantized=True).read_bytes()
    feeds = board.put_blob(pack_arrays(image=np.ones((2, *SHAPE), dtype=np.float32)))
    _, answer = ask(board, model, feeds=feeds)
    first = next(node for node in answer["nodes"] if node["op"] == "QuantizeLinear")
    assert first["inputs"][0] == ["float", list(SHAPE)]
    assert first["outputs"] == [["uint8", list(SHAPE)]]


def read(recording: dict[str, Any], skipped: int = 0) -> Trace:
    return read_trace(recording["trace"].splitlines(), skipped)


@pytest.mark.parametrize("recording", RECORDINGS, ids=NAMES)
def test_a_recorded_trace_names_the_nodes_of_the_graph_that_ran(recording: dict[str, Any]) -> None:
    trace = read(recording)
    assert len(trace.runs_us) == 2
    assert [(node.name, node.op) for node in trace.nodes] == [
        (node["name"], node["op"]) for node in recording["graph"]
    ]
    assert all(node.calls == [0, 1] for node in trace.nodes)


@pytest.mark.parametrize("recording", RECORDINGS, ids=NAMES)
def test_nodes_take_no_longer_than_the_inference(recording: dict[str, Any]) -> None:
    trace = read(recording)
    for number, run_us in enumerate(trace.runs_us):
        assert sum(node.durations_us[number] for node in trace.nodes) <= run_us


def test_the_warm_up_is_left_out() -> None:
    whole, without = read(RECORDINGS[-1]), read(RECORDINGS[-1], skipped=1)
    assert without.runs_us == whole.runs_us[1:]
    assert [node.durations_us for node in without.nodes] == [node.durations_us[1:] for node in whole.nodes]


def test_shapes_that_a_trace_does_not_tell_are_missing() -> None:
    assert all(node.outputs == [] for node in read(RECORDINGS[0]).nodes)
    assert read(RECORDINGS[-1]).nodes[1].outputs == [("uint8", list(SHAPE))]


@pytest.mark.parametrize("recording", RECORDINGS, ids=NAMES)
def test_a_trace_on_one_line_says_the_same(recording: dict[str, Any]) -> None:
    packed = json.dumps(json.loads(recording["trace"]))
    assert read_trace([packed], 0) == read(recording)


@hypothesis.given(st.integers(0, 20000), st.binary(max_size=40))
def test_a_trace_that_is_cut_or_garbled_holds_only_whole_inferences(cut: int, noise: bytes) -> None:
    text = RECORDINGS[-1]["trace"][:cut] + noise.decode("utf-8", "replace")
    whole = read(RECORDINGS[-1])
    trace = read_trace(text.splitlines(), 0)
    assert trace.runs_us == whole.runs_us[: len(trace.runs_us)]
    assert {node.name for node in trace.nodes} <= {node.name for node in whole.nodes}


def test_a_node_in_a_loop_counts_with_all_its_calls() -> None:
    def event(name: str, duration: int, cat: str = "Node") -> str:
        return json.dumps({"cat": cat, "name": name, "dur": duration, "args": {"op_name": "Add"}})

    inference = [event("body_kernel_time", 3), event("body_kernel_time", 4), event("model_run", 9, "Session")]
    answer = summarize_trace(read_trace(2 * inference, 0))
    assert answer["nodes"][0]["calls"] == 2
    assert answer["nodes"][0]["middle_us"] == 7
    assert answer["nodes_us"] == 7


def test_the_nodes_of_a_file_are_those_that_onnx_reads(tmp_path: Path) -> None:
    path = make_network(tmp_path / "int8.onnx", is_quantized=True)
    expected = [
        (node.name, node.op_type, list(node.input), list(node.output)) for node in onnx.load(path).graph.node
    ]
    assert [tuple(node) for node in read_nodes(str(path))] == expected


@hypothesis.given(st.binary(min_size=1, max_size=200), st.integers(0, 3000))
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_a_file_that_is_no_onnx_is_refused_or_has_no_nodes(tmp_path: Path, noise: bytes, cut: int) -> None:
    whole = make_model()
    path = tmp_path / "noise.onnx"
    path.write_bytes(whole[: cut % len(whole)] + noise)
    try:
        nodes = read_nodes(str(path))
    except ValueError:
        return
    assert all(isinstance(node.name, str) for node in nodes)


def test_one_disturbance_does_not_move_the_middle() -> None:
    assert middle_mean([5, 5, 5, 5, 5, 5, 5, 9000]) == 5
    assert middle_mean([4, 5]) == 4.5
    assert middle_mean([4, 4, 5, 5, 4, 5, 4, 5]) == 4.5


def test_too_large_an_answer_loses_what_matters_least_first() -> None:
    node = {"name": "n", "op": "Add", "inputs": [["float", [1] * 50]], "outputs": [], "mean_us": 1.0}
    nodes = [dict(node, name=f"n{at}", mean_us=float(at)) for at in range(100)]
    answer = {"nodes": nodes, "graph": [{"name": "n" * 2000}], "nodes_left_out": 0}
    size = len(json.dumps(answer))
    assert fit_answer(answer, size) == answer
    assert fit_answer(answer, size - 1)["graph"] is None
    bare = fit_answer(answer, 8000)
    assert (bare["nodes_left_out"], bare["nodes"][0]["inputs"]) == (0, [])
    few = fit_answer(answer, 3000)
    assert few["nodes"][0]["name"] == "n99"
    assert few["nodes_left_out"] == 100 - len(few["nodes"]) > 0


def test_a_trace_without_an_inference_is_an_error() -> None:
    from device_agent.measurement import TaskFailed

    with pytest.raises(TaskFailed, match="no inference"):
        summarize_trace(read_trace([], 0))


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("flags\t\t: fpu sse avx2 avx_vnni\n", ["avx2", "avx_vnni"]),
        ("Features\t: fp asimd asimddp\nFeatures\t: fp asimd\n", ["asimddp"]),
        ("processor: 0\n", None),
        ("", None),
    ],
)
def test_instructions_are_those_of_the_first_core(
    tmp_path: Path, cpuinfo: str, expected: list[str] | None
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(cpuinfo)
    assert read_instructions(str(tmp_path)) == expected


def test_no_optimizer_shortens_the_blank_model(board: Board, tmp_path: Path) -> None:
    blank = write_blank_model(tmp_path).path.read_bytes()
    feeds = board.put_blob(pack_arrays(x=np.ones((2, 1, 1, 1, 1), dtype=np.float32)))
    _, answer = ask(board, blank, feeds=feeds)
    assert len(answer["nodes"]) == NODES
