"""The agent measures real models on this machine and tells of it as it goes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from device_agent import protocol
from device_agent.run import shuffle_round
from host.fleet.agent_archive import build_agent
from host.fleet.journal import parse_event
from tests.agent_board import (
    IMAGES,
    LABELS,
    PROTOCOL,
    Board,
    make_hungry_model,
    make_model,
    pack_arrays,
    pick,
    run_model,
    unpack,
    wait_for,
)
from tests.readings import watch_readings
from tests.test_agent_watching import Sensors


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "work", build_agent(tmp_path).path)


def test_a_run_measures_every_task_as_the_host_expects_it(board: Board) -> None:
    small, large = make_model(4), make_model(64)
    reference = board.put_blob(pack_arrays(outputs=run_model(small, IMAGES)))
    board.put_job(
        "r1", board.describe_task("small", small, reference=reference), board.describe_task("large", large)
    )
    events = board.measure("r1")

    for line in (board.work / "runs/r1/journal.jsonl").read_bytes().splitlines():
        parse_event(line)
    assert [one["seq"] for one in events] == list(range(1, len(events) + 1))
    assert events[0]["event"] == "run-started"
    assert events[-1]["event"] == "run-ended"
    assert events[-1]["reason"] == "completed"
    assert (events[-1]["ok"], events[-1]["failed"]) == (2, 0)
    for task in ("small", "large"):
        rounds = pick(events, "round", task)
        assert [one["round"] for one in rounds] == [0, 1, 2]
        for one in rounds:
            samples = unpack(one)
            assert len(samples) == one["count"] >= PROTOCOL["round_samples"]
            assert one["seconds"] >= PROTOCOL["round_s"]
            # The samples fill the round: what lies between them is the loop alone.
            assert 0.5 < samples.sum() / 1e9 / one["seconds"] <= 1.0
        assert rounds[0]["warmup"]["inferences"] >= PROTOCOL["warmup_inferences"]
        assert rounds[1]["warmup"]["inferences"] >= 10
    measured = pick(events, "result", "small")[0]["measurement"]
    expected = float(np.mean(run_model(small, IMAGES).argmax(axis=1) == LABELS))
    assert measured["accuracy"] == pytest.approx(expected)
    assert measured["agreement"] == 1.0
    assert measured["max_abs_diff"] < 1e-4
    assert measured["provider"] == "CPUExecutionProvider"
    assert measured["threads"] == 1
    memory = measured["memory_mb"]
    assert 0 < memory["baseline"] < memory["loaded"]
    assert memory["peak"] >= memory["loaded"] - 1
    assert memory["pss"] > 0
    assert memory["available_fall"] >= 0  # what others freed meanwhile is in it
    assert set(measured["flags"]) <= set(protocol.FLAGS)
    assert measured["environment"]["versions"]["runtime"]
    assert pick(events, "result", "large")[0]["measurement"]["agreement"] is None


def test_rounds_of_all_tasks_are_interleaved_in_the_order_of_the_seed(board: Board) -> None:
    names = ["a", "b", "c"]
    rules = {**PROTOCOL, "rounds": 4, "round_s": 0.01}
    tasks = [board.describe_task(name, make_model(4)) for name in names]
    board.put_job("r1", *tasks, protocol=rules, seed=7)
    rounds = pick(board.measure("r1"), "round")
    expected = [(name, number) for number in range(4) for name in shuffle_round(7, number, names)]
    assert [(one["task"], one["round"]) for one in rounds] == expected


def test_every_round_has_an_order_of_its_own_and_the_seed_decides_it() -> None:
    names = [str(index) for index in range(6)]
    orders = [tuple(shuffle_round(1, number, names)) for number in range(20)]
    assert len(set(orders)) > 10
    assert orders == [tuple(shuffle_round(1, number, names[::-1])) for number in range(20)]
    assert orders != [tuple(shuffle_round(2, number, names)) for number in range(20)]


def test_a_model_with_a_fixed_batch_is_evaluated_to_its_last_image(board: Board) -> None:
    model = make_model(4, batch=4)
    feeds = board.put_blob(pack_arrays(x=IMAGES[:8].reshape(2, 4, 3, 8, 8)))
    board.put_job("r1", board.describe_task("t", model, feeds=feeds, batch=4))
    measured = pick(board.measure("r1"), "result")[0]["measurement"]
    expected = float(np.mean(run_model(make_model(4), IMAGES).argmax(axis=1) == LABELS))
    assert measured["accuracy"] == pytest.approx(expected)


def test_a_stopped_run_says_so_and_can_be_finished(board: Board) -> None:
    board.put_job("r1", board.describe_task("a", make_model(4)), protocol={**PROTOCOL, "round_s": 60})
    board.call("start", "r1")
    with board.follow("r1") as events:
        wait_for(events, "progress", phase="warming")
        assert board.call("stop", "r1") == (0, {"stopped": True})
        assert wait_for(events, "run-ended")["reason"] == "stopped"
    assert board.call("stop", "r1") == (0, {"stopped": False})
    assert board.call("status") == (0, {"holder": None})
    board.put_job("r1", board.describe_task("a", make_model(4)))
    events_now = board.measure("r1")
    assert events_now[-1]["reason"] == "completed"
    assert [one["round"] for one in pick(events_now, "round")] == [0, 1, 2]


def test_a_follower_may_come_late_and_asks_only_for_what_it_has_not_seen(board: Board) -> None:
    board.put_job("r1", board.describe_task("a", make_model(4)))
    events = board.measure("r1")
    _, rest = board.call("follow", "r1", "--after", str(events[-3]["seq"]))
    assert rest == events[-2:]


def test_a_follower_ends_when_nobody_reads_it_any_more(board: Board) -> None:
    board.put_job("r1", board.describe_task("a", make_model(4)), protocol={**PROTOCOL, "round_s": 60})
    board.call("start", "r1")
    try:
        process = board.start_call("follow", "r1", stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(10) == protocol.EXIT_FAULT
        assert process.stderr.read() == b""
        process.stderr.close()
    finally:
        board.call("stop", "r1")


def test_starting_returns_though_the_run_lives_on_and_keeps_no_stream_open(board: Board) -> None:
    board.put_job("r1", board.describe_task("a", make_model(4)), protocol={**PROTOCOL, "round_s": 60})
    code, started = board.call("start", "r1")  # reads standard output to its end
    assert code == 0
    assert os.getsid(started["pid"]) == started["pid"]
    assert board.call("stop", "r1") == (0, {"stopped": True})


def test_everything_on_the_board_is_for_its_owner_alone(board: Board) -> None:
    board.put_job("r1", board.describe_task("a", make_model(4)))
    board.measure("r1")
    paths = [*(board.work / "runs").rglob("*"), board.work / "lock"]
    assert len(paths) > 4
    assert [path for path in paths if path.stat().st_mode & 0o077] == []


def test_loaded_is_before_the_first_inference_and_peak_is_over_them(board: Board) -> None:
    hungry = make_hungry_model(16 << 20)  # 64 MiB with every inference, which the runtime keeps
    board.put_job("r1", board.describe_task("a", hungry, evaluation=None))
    memory = pick(board.measure("r1"), "result")[0]["measurement"]["memory_mb"]
    assert memory["peak"] - memory["loaded"] > 50


def test_a_run_goes_on_when_whoever_started_it_is_gone(board: Board) -> None:
    board.put_job("r1", board.describe_task("a", make_model(4)))
    reader, writer = os.pipe()
    os.close(reader)
    process = board.start_call("run", "r1", "--ready", str(writer), pass_fds=(writer,))
    os.close(writer)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert board.read_journal("r1")[-1]["reason"] == "completed"


SMALL_BOARD = """
import sys
agent, work = sys.argv[1:]
sys.argv[0] = agent
sys.path.insert(0, agent)
from device_agent import launch, run
from device_agent.sensors.load import Memory
from device_agent.work_folder import WorkFolder

run.read_memory = lambda root: Memory(1000.0, 100.0)
sys.exit(launch.run_here(WorkFolder(work), "r1", None))
"""


METER = """
import time
while True:
    print(time.monotonic(), 5.0, flush=True)
    time.sleep(0.02)
"""


def test_on_a_small_board_one_worker_at_a_time_measures_and_power_is_metered(board: Board) -> None:
    tasks = [board.describe_task(name, make_model(4)) for name in ("a", "b")]
    meter = {"command": [board.python, "-c", METER]}
    board.put_job("r1", *tasks, protocol={**PROTOCOL, "power_window_s": 1.0}, meter=meter)
    command = [board.python, "-c", SMALL_BOARD, str(board.agent), str(board.work)]
    subprocess.run(command, check=True, timeout=60)
    events = board.read_journal("r1")
    assert [(one["task"], one["block"]) for one in pick(events, "task-opened")] == [("a", 0), ("b", 1)]
    order = [one["task"] for one in events if one["event"] in ("task-opened", "round", "result")]
    assert order == ["a"] * 5 + ["b"] * 5
    for one in pick(events, "result"):
        found = one["measurement"]["power"]
        assert found["source"].startswith("meter python")
        assert found["idle_w"] == pytest.approx(5.0, rel=0.3)
        assert found["load_w"] == pytest.approx(5.0, rel=0.3)
        # Tests may run beside others, and then energy is withheld with a reason.
        assert found["note"] if found["energy_mj"] is None else found["energy_mj"] > 0


def test_a_model_with_a_scalar_input_is_measured(board: Board) -> None:
    node = onnx.helper.make_node("Mul", ["x", "scale"], ["y"])
    kinds = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 4]), ("scale", []), ("y", [1, 4]))
    ]
    graph = onnx.helper.make_graph([node], "scaled", kinds[:2], kinds[2:])
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    feeds = board.put_blob(pack_arrays(x=np.ones((2, 1, 4), np.float32), scale=np.ones(2, np.float32)))
    board.put_job("r1", board.describe_task("scaled", model, feeds=feeds, evaluation=None))
    (result,) = pick(board.measure("r1"), "result")
    assert (result["status"], result.get("error")) == ("ok", None)


def test_what_happens_to_a_board_within_a_round_is_seen(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensors = Sensors(tmp_path / "root")
    monkeypatch.setenv("BOARDBENCH_ROOT", str(sensors.root))
    for round_s in (5.0, 20.0, 80.0):  # the longer ones where this machine is too busy to do it in time
        run = f"r{round_s:.0f}"
        disturb_second_round(board, sensors, run, round_s)
        environment, measured = read_second_round(board, run)
        ends = {max(environment[end]["freq_mhz"]) for end in ("before", "after")}
        if ends == {1500.0}:
            break
    during = environment["during"]
    assert ends == {1500.0}
    assert during["samples"] >= 4
    assert (during["highest_mhz"], during["lowest_mhz"]) == (1500.0, 1000.0)
    assert (during["temperature_c_max"], during["throttle_bits"]) == (70.0, 0x4)
    assert {"throttled", "frequency-dropped", "emulated"} <= set(measured["flags"])
    assert measured["environment"]["during"]["lowest_mhz"] == 1000.0
    assert environment["rest"] == {"temperature_c": 45.0, "idle_c": 45.0, "cooled_s": 0.0}


def disturb_second_round(board: Board, sensors: Sensors, run: str, round_s: float) -> None:
    """Measure two rounds; once the second is looked at, show another clock until that has been seen, too."""
    rules = {**PROTOCOL, "rounds": 2, "round_s": round_s, "warmup_cap_s": 0.2}
    board.put_job(run, board.describe_task("a", make_model(4)), protocol=rules)
    board.call("start", run)
    with board.follow(run) as events, watch_readings(sensors.firmware) as readings:
        wait_for(events, "progress", phase="round", round=1)
        readings.wait_for(3)  # the worker's own, and a look
        sensors.show(1000.0, 70.0, 0x4)
        readings.wait_for(3)  # a look that had begun before, and a whole one
        sensors.show(1500.0, 45.0, 0)
        wait_for(events, "run-ended")


def read_second_round(board: Board, run: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The environment of that round, and what was measured."""
    events = board.read_journal(run)
    (result,) = pick(events, "result")
    return pick(events, "round")[1]["environment"], result["measurement"]


def test_a_round_waits_for_a_board_that_was_cooler_and_says_so(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensors = Sensors(tmp_path / "root")
    monkeypatch.setenv("BOARDBENCH_ROOT", str(sensors.root))
    board.put_job("r1", board.describe_task("a", make_model(4)))
    board.measure("r1")
    sensors.show(1500.0, 60.0, 0)
    rules = {**PROTOCOL, "rounds": 2, "cooldown_cap_s": 1.0}
    board.put_job("r2", board.describe_task("a", make_model(4)), protocol=rules)
    events = board.measure("r2")
    assert [one["round"] for one in pick(events, "progress") if one["phase"] == "cooling"] == [0, 1]
    for one in pick(events, "round"):
        rest = one["environment"]["rest"]
        assert (rest["temperature_c"], rest["idle_c"]) == (60.0, 45.0)
        assert rest["cooled_s"] >= 1.0
    assert "hot-start" in pick(events, "result")[0]["measurement"]["flags"]


def test_a_run_that_cools_down_can_be_stopped(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensors = Sensors(tmp_path / "root")
    monkeypatch.setenv("BOARDBENCH_ROOT", str(sensors.root))
    board.put_job("r1", board.describe_task("a", make_model(4)))
    board.measure("r1")
    sensors.show(1500.0, 90.0, 0)
    rules = {**PROTOCOL, "cooldown_cap_s": 3600.0}
    board.put_job("r2", board.describe_task("a", make_model(4)), protocol=rules)
    board.call("start", "r2")
    with board.follow("r2") as events:
        wait_for(events, "progress", phase="cooling")
        assert board.call("stop", "r2") == (0, {"stopped": True})
        assert wait_for(events, "run-ended")["reason"] == "stopped"
