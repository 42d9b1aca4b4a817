"""What goes wrong on a board stays where it went wrong, and nothing measured is lost."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent import protocol
from host.fleet.agent_archive import build_agent
from tests.agent_board import (
    PROTOCOL,
    Board,
    make_hungry_model,
    make_model,
    pack_arrays,
    pick,
    wait_for,
)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "work", build_agent(tmp_path).path)


def test_a_task_that_cannot_be_opened_fails_alone(board: Board) -> None:
    good = make_model(4)
    board.put_job(
        "r1",
        board.describe_task("no-onnx", b"nonsense"),
        board.describe_task("no-provider", good, provider="CUDAExecutionProvider"),
        board.describe_task("no-blob", good, model="0" * 64),
        board.describe_task("no-runtime", good, runtime="abacus"),
        board.describe_task("wrong-input", good, feeds=board.put_blob(pack_arrays(z=np.zeros((2, 1))))),
        board.describe_task("good", good),
    )
    events = board.measure("r1")
    errors = {one["task"]: one["error"] for one in pick(events, "result") if one["status"] == "failed"}
    assert {task: error["kind"] for task, error in errors.items()} == {
        "no-onnx": protocol.FAILED_OPEN,
        "no-provider": protocol.FAILED_MISSING,
        "no-blob": protocol.FAILED_MISSING,
        "no-runtime": protocol.FAILED_MISSING,
        "wrong-input": protocol.FAILED_INFER,
    }
    assert "CPUExecutionProvider" in errors["no-provider"]["message"]  # what there is instead
    assert pick(events, "result", "good")[0]["status"] == "ok"
    assert (events[-1]["ok"], events[-1]["failed"]) == (1, 5)


def test_a_model_of_a_newer_opset_than_the_runtime_knows_says_so(board: Board) -> None:
    board.put_job("r1", board.describe_task("t", make_model(4, opset=99)))
    error = pick(board.measure("r1"), "result")[0]["error"]
    assert error["kind"] == protocol.FAILED_OPEN
    assert "opset" in error["message"]


def test_a_worker_that_dies_is_that_tasks_result_and_no_others(board: Board) -> None:
    tasks = [board.describe_task(name, make_model(4)) for name in ("a", "b")]
    board.put_job("r1", *tasks, protocol={**PROTOCOL, "rounds": 10})
    board.call("start", "r1")
    with board.follow("r1") as events:
        wait_for(events, "round", round=0)
        os.kill(board.find_worker("r1", "a"), signal.SIGSEGV)
        wait_for(events, "run-ended")
    results = {one["task"]: one for one in pick(board.read_journal("r1"), "result")}
    assert results["a"]["error"]["kind"] == protocol.FAILED_CRASH
    assert "SIGSEGV" in results["a"]["error"]["message"]
    assert results["b"]["status"] == "ok"


def test_a_worker_that_falls_silent_is_killed_and_the_others_go_on(board: Board) -> None:
    rules = {**PROTOCOL, "rounds": 20}
    board.put_job(
        "r1",
        *(board.describe_task(name, make_model(4)) for name in ("a", "b")),
        protocol=rules,
        timeouts={"reply_s": 4},
    )
    board.call("start", "r1")
    with board.follow("r1") as events:
        wait_for(events, "round", round=0)
        silent = board.find_worker("r1", "b")
        os.kill(silent, signal.SIGSTOP)
        wait_for(events, "run-ended")
    results = {one["task"]: one for one in pick(board.read_journal("r1"), "result")}
    assert results["b"]["error"]["kind"] == protocol.FAILED_HANG
    assert results["a"]["status"] == "ok"
    assert not Path(f"/proc/{silent}").exists()


def test_a_task_that_takes_longer_in_all_than_it_may_ends_though_it_gives_signs_of_life(board: Board) -> None:
    rules = {**PROTOCOL, "rounds": 1000, "warmup_cap_s": 0.01}
    task = board.describe_task("a", make_model(4))
    board.put_job("r1", task, protocol=rules, timeouts={"task_s": 2.0, "reply_s": 1.0})
    board.call("start", "r1")
    with board.follow("r1") as events:
        wait_for(events, "run-ended")
    (result,) = pick(board.read_journal("r1"), "result")
    assert result["error"]["kind"] == protocol.FAILED_HANG
    assert "when all of its 2 s were over" in result["error"]["message"]


def test_a_model_that_gets_no_memory_fails_for_memory(board: Board) -> None:
    board.limits = {resource.RLIMIT_AS: 6 << 30}
    board.put_job(
        "r1",
        board.describe_task("hungry", make_hungry_model(4 << 30), evaluation=None),
        board.describe_task("modest", make_hungry_model(16), evaluation=None),
    )
    results = {one["task"]: one for one in pick(board.measure("r1"), "result")}
    assert results["hungry"]["error"]["kind"] == protocol.FAILED_MEMORY
    assert results["modest"]["status"] == "ok"


STAND_IN = """
import os, sys
{}
del sys.path[0], sys.modules["onnxruntime"]
import onnxruntime
"""


def put_stand_in(board: Board, code: str) -> str:
    """A layer whose onnxruntime does something before it makes way for the real one."""
    layer = "0" * 64
    package = board.work / "layers" / layer / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(STAND_IN.format(code))
    return layer


def test_what_a_runtime_prints_reaches_the_log_and_not_the_answers(board: Board) -> None:
    layer = put_stand_in(board, "os.write(1, b'\\xff\\x00 {garbage\\n' * 99); print('{\"done\": {}}')")
    board.put_job("r1", board.describe_task("a", make_model(4)), layer=layer)
    assert pick(board.measure("r1"), "result")[0]["status"] == "ok"
    assert b"garbage" in (board.work / "runs/r1/worker-a.log").read_bytes()


@pytest.mark.parametrize("garbage", ["b'{garbage\\n'", "b'\\xff\\xfe\\n'", "b'[]\\n'", "b'{\"done\": 7}\\n'"])
def test_a_runtime_that_scribbles_into_the_answers_fails_alone(board: Board, garbage: str) -> None:
    pipe = "int(sys.argv[4])"  # agent.pyz --work FOLDER worker DESCRIPTOR
    layer = put_stand_in(board, f"os.write({pipe}, {garbage})")
    board.put_job("r1", board.describe_task("a", make_model(4)), layer=layer)
    events = board.measure("r1")
    (result,) = pick(events, "result")
    assert result["error"]["kind"] == protocol.FAILED_CRASH
    assert "cannot be read" in result["error"]["message"]
    assert events[-1]["reason"] == "completed"


def test_a_log_holds_only_what_the_last_worker_said(board: Board) -> None:
    rules = {**PROTOCOL, "rounds": 12}
    layer = put_stand_in(board, "print('opened', flush=True)")
    board.put_job("r1", board.describe_task("a", make_model(4)), protocol=rules, layer=layer)
    board.call("start", "r1")
    with board.follow("r1") as events:
        wait_for(events, "round", round=1)
        board.call("stop", "r1")
    board.measure("r1")
    assert (board.work / "runs/r1/worker-a.log").read_text().count("opened") == 1


STARVING = """
import sys
agent, work = sys.argv[1:]
sys.argv[0] = agent
sys.path.insert(0, agent)
from device_agent import launch, watching
from device_agent.sensors.load import Memory
from device_agent.supervision import WorkerProcess
from device_agent.work_folder import WorkFolder

ask = WorkerProcess.ask

def ask_noting(worker, command, *rest):
    hungry = command["do"] == {do!r} and (command["do"] != "open" or command["task"]["task"] == "b")
    watching.read_memory = lambda root: Memory(1000.0, 10.0 if hungry and {condition} else 500.0)
    return ask(worker, command, *rest)

openings = []
WorkerProcess.ask = ask_noting
sys.exit(launch.run_here(WorkFolder(work), "r1", None))
"""


def starve(board: Board, do: str, condition: str) -> list[dict[str, Any]]:
    """A run of a and b on a board whose memory runs out while a worker is asked to do something."""
    board.put_job("r1", *(board.describe_task(name, make_model(4)) for name in ("a", "b")))
    code = STARVING.format(do=do, condition=condition)
    subprocess.run([board.python, "-c", code, str(board.agent), str(board.work)], check=True, timeout=60)
    return board.read_journal("r1")


def test_a_worker_that_starves_the_board_is_stopped_and_the_others_go_on(board: Board) -> None:
    events = starve(board, "open", "True")
    results = {one["task"]: one for one in pick(events, "result")}
    assert results["b"]["error"]["kind"] == protocol.FAILED_MEMORY
    assert "10 of 1000 MiB were left" in results["b"]["error"]["message"]
    assert "its worker held" in results["b"]["error"]["message"]
    assert results["a"]["status"] == "ok"


def test_a_worker_that_does_not_fit_beside_others_is_opened_again_alone(board: Board) -> None:
    events = starve(board, "open", "not openings and not openings.append(1)")
    assert [one["status"] for one in pick(events, "result")] == ["ok", "ok"]
    assert [(one["task"], one["block"]) for one in pick(events, "task-opened")] == [("a", 0), ("b", 1)]


def test_a_round_ends_where_the_board_starves(board: Board) -> None:
    events = starve(board, "round", "True")
    kinds = [one["error"]["kind"] for one in pick(events, "result")]
    assert kinds == [protocol.FAILED_MEMORY] * 2
    assert events[-1]["reason"] == "completed"


def test_a_killed_run_takes_its_workers_along_and_goes_on_where_it_was(board: Board) -> None:
    tasks = [board.describe_task(name, make_model(4)) for name in ("a", "b")]
    board.put_job("r1", *tasks, protocol={**PROTOCOL, "rounds": 12})
    _, started = board.call("start", "r1")
    with board.follow("r1") as events:
        wait_for(events, "round", round=2)
        workers = [board.find_worker("r1", name) for name in ("a", "b")]
        os.kill(started["pid"], signal.SIGKILL)
        assert not any(one["event"] == "run-ended" for one in events)
    with (board.work / "runs/r1/journal.jsonl").open("ab") as journal:
        journal.write(b'{"seq": 99, "event": "rou')  # as if the power had failed in the middle of a line
    before = len(board.read_journal_lines("r1"))
    assert board.call("follow", "r1")[0] == protocol.EXIT_FAULT

    events_now = board.measure("r1")
    assert not any(Path(f"/proc/{worker}/exe").exists() for worker in workers)
    assert [one["seq"] for one in events_now] == list(range(1, len(events_now) + 1))
    assert len(events_now) > before
    assert len(pick(events_now, "run-started")) == 2
    rounds = [(one["task"], one["round"]) for one in pick(events_now, "round")]
    assert sorted(rounds) == [(name, number) for name in ("a", "b") for number in range(12)]
    assert [one["status"] for one in pick(events_now, "result")] == ["ok", "ok"]
    assert board.call("start", "r1") == (0, {"state": "finished", "pid": None})


def test_a_run_that_was_lost_before_its_results_measures_no_round_again(board: Board) -> None:
    board.put_job("r1", board.describe_task("a", make_model(4)))
    first = board.measure("r1")
    journal = board.work / "runs/r1/journal.jsonl"
    kept = [
        line for line in board.read_journal_lines("r1") if b'"result"' not in line and b"ended" not in line
    ]
    journal.write_bytes(b"\n".join(kept) + b"\n")
    second = board.measure("r1")
    assert pick(second, "round") == pick(first, "round")
    assert pick(second, "result")[0]["status"] == "ok"


def test_a_second_run_is_told_who_holds_the_board_and_since_when(board: Board) -> None:
    task = board.describe_task("a", make_model(4))
    board.put_job("r1", task, protocol={**PROTOCOL, "round_s": 60})
    board.put_job("r2", task)
    _, started = board.call("start", "r1")
    try:
        code, answer = board.call("start", "r2")
        assert code == protocol.EXIT_LOCKED
        assert answer["error"]["kind"] == protocol.ERROR_LOCKED
        assert answer["error"]["message"].startswith("ann@laptop since 20")
        _, status = board.call("status")
        assert (status["holder"]["run"], status["holder"]["pid"]) == ("r1", started["pid"])
        assert board.call("start", "r1") == (0, {"state": "running", "pid": started["pid"]})
    finally:
        board.call("stop", "r1")


def test_a_full_disk_ends_the_run_and_leaves_a_journal_that_can_be_read(board: Board) -> None:
    board.put_job("r1", board.describe_task("a", make_model(4)), protocol={**PROTOCOL, "rounds": 20})
    board.limits = {resource.RLIMIT_FSIZE: 12 << 10}
    board.call("start", "r1")
    code, _ = board.call("follow", "r1")
    events = board.read_journal("r1")  # every line is whole
    if events[-1]["event"] == "run-ended":
        assert code == 0
        assert events[-1]["error"]["kind"] == protocol.ERROR_NO_SPACE
    else:
        assert code == protocol.EXIT_FAULT
    assert "File too large" in (board.work / "runs/r1/agent.log").read_text()
    board.limits = {}
    events = board.measure("r1")
    assert events[-1]["reason"] == "completed"
    assert len(pick(events, "round")) == 20


def test_a_run_that_was_never_put_down_is_missing(board: Board) -> None:
    for words in (("start", "r9"), ("follow", "r9")):
        code, answer = board.call(*words)
        assert code == protocol.EXIT_FAULT
        assert answer["error"]["kind"] == protocol.ERROR_MISSING


@pytest.mark.parametrize("name", ["../r1", "a/b", "..", "", "x" * 81, "-a\n"])
def test_a_run_is_never_named_by_a_path(board: Board, name: str) -> None:
    code, answer = board.call("start", "--", name)
    assert code == protocol.EXIT_FAULT
    assert answer["error"]["kind"] == protocol.ERROR_BAD_JOB


def test_a_worker_loads_what_the_layer_brings(board: Board) -> None:
    package = board.work / "layers" / ("0" * 64) / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('the one of the layer')\n")
    board.put_job("r1", board.describe_task("a", make_model(4)), layer="0" * 64)
    error = pick(board.measure("r1"), "result")[0]["error"]
    assert error["kind"] == protocol.FAILED_MISSING
    assert "the one of the layer" in error["message"]
