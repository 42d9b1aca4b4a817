"""Changing a board for measurements, and putting it back whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent import as_root
from device_agent.as_root import Refused, run_as_root
from device_agent.faults import AgentFault
from device_agent.sensors.power_modes import asks_for_restart, find_fastest, parse_modes
from device_agent.tuning import fixing, record
from device_agent.tuning.clocks import check_stored
from device_agent.tuning.step import Place
from device_agent.work_folder import WorkFolder
from host.fleet.agent_archive import build_agent
from tests.agent_board import Board, make_model, pick, wait_for
from tests.tunable_board import CORES, CPU, FIXED, MODES, TunableBoard, make_tunable


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TunableBoard:
    """A board that looks like a Jetson, whose user may become root without a password."""
    board = make_tunable(tmp_path / "root")
    monkeypatch.setenv("PATH", f"{board.commands}:{os.environ['PATH']}")
    monkeypatch.setenv("BOARDBENCH_ROOT", str(board.root))
    monkeypatch.setattr(as_root, "is_root", lambda: False)
    return board


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TunableBoard:
    board = make_tunable(tmp_path / "root", is_jetson=False)
    monkeypatch.setenv("PATH", f"{board.commands}:{os.environ['PATH']}")
    monkeypatch.setenv("BOARDBENCH_ROOT", str(board.root))
    monkeypatch.setattr(as_root, "is_root", lambda: False)
    return board


def place_of(board: TunableBoard) -> Place:
    return Place(WorkFolder(str(board.root.parent / "work")), str(board.root))


def states(outcomes: list[dict[str, Any]]) -> dict[str, str]:
    return {one["kind"]: one["state"] for one in outcomes}


# One change after the other.


def test_all_is_changed_and_put_back(jetson: TunableBoard) -> None:
    before, place = jetson.state(), place_of(jetson)
    outcomes = fixing.fix(place, "ann@laptop")
    assert states(outcomes) == {"power-mode": "done", "governor": "done", "clocks": "done"}
    assert jetson.state() == FIXED
    assert {one["kind"]: one["before"] for one in outcomes}["governor"] == "schedutil"
    told = fixing.look(place)
    assert told is not None
    assert (told["state"], told["holder"], len(told["changed"])) == ("waiting", "ann@laptop", 3)
    assert states(fixing.restore(place)) == {"power-mode": "done", "governor": "done", "clocks": "done"}
    assert jetson.state() == before
    assert fixing.look(place) is None
    assert list(Path(place.folder.root).iterdir()) == []


def test_a_board_without_such_tools_gets_its_governor_alone(pi: TunableBoard) -> None:
    assert states(fixing.fix(place_of(pi), "ann")) == {"governor": "done"}
    assert pi.state()["governors"] == ["performance"] * 4
    assert pi.state()["mode"] == "1"


def test_root_needs_no_sudo(pi: TunableBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_root, "is_root", lambda: True)
    assert states(fixing.fix(place_of(pi), "ann")) == {"governor": "done"}
    assert pi.asked_of_sudo() == []


def test_what_is_as_wanted_already_is_left_alone_and_stays_so(pi: TunableBoard) -> None:
    for core in CORES:
        pi.write(f"{CPU}/cpu{core}/cpufreq/scaling_governor", "performance\n")
    assert states(fixing.fix(place_of(pi), "ann")) == {"governor": "already"}
    assert fixing.look(place_of(pi)) is None
    assert fixing.restore(place_of(pi)) == []
    assert pi.state()["governors"] == ["performance"] * 4


def test_a_second_fix_keeps_what_was_before_the_first(jetson: TunableBoard) -> None:
    before, place = jetson.state(), place_of(jetson)
    fixing.fix(place, "ann")
    jetson.write(f"{CPU}/cpu0/cpufreq/scaling_governor", "ondemand\n")
    assert states(fixing.fix(place, "bob"))["governor"] == "done"
    assert jetson.state() == FIXED
    fixing.restore(place)
    assert jetson.state() == before


def test_what_waits_for_a_run_is_left_alone_by_others(pi: TunableBoard) -> None:
    place = place_of(pi)
    fixing.fix(place, "ann")
    assert fixing.settle(place) == []  # as `bench profile` and `bench doctor` do
    assert pi.state()["governors"] == ["performance"] * 4
    told = fixing.look(place)
    assert told is not None
    assert told["state"] == "waiting"


def test_each_core_gets_its_own_governor_back(pi: TunableBoard) -> None:
    pi.write(f"{CPU}/cpu2/cpufreq/scaling_governor", "ondemand\n")
    before = pi.state()
    fixing.fix(place_of(pi), "ann")
    fixing.restore(place_of(pi))
    assert pi.state() == before


def test_a_sudo_that_asks_changes_nothing_and_says_so(jetson: TunableBoard) -> None:
    jetson.write("sudo-asks")
    before, place = jetson.state(), place_of(jetson)
    outcomes = fixing.fix(place, "ann")
    assert set(states(outcomes).values()) == {"refused"}
    assert all("password is required" in str(one["message"]) for one in outcomes)
    assert jetson.state() == before
    assert fixing.look(place) is None


def test_a_mode_that_asks_for_a_restart_is_told_no(jetson: TunableBoard) -> None:
    jetson.write("asks-for-restart")
    (outcome,) = [one for one in fixing.fix(place_of(jetson), "ann") if one["kind"] == "power-mode"]
    assert outcome["state"] == "refused"
    assert "sudo nvpmodel -m 0" in str(outcome["message"])
    assert not (jetson.root / "was-restarted").exists()
    assert jetson.read("mode") == "1"


def test_a_mode_that_powers_other_parts_of_the_gpu_is_not_even_asked_for(jetson: TunableBoard) -> None:
    jetson.write("mode", "2\n")
    (outcome,) = [one for one in fixing.fix(place_of(jetson), "ann") if one["kind"] == "power-mode"]
    assert outcome["state"] == "refused"
    assert "restart" in str(outcome["message"])
    assert not [line for line in jetson.asked_of_sudo() if "nvpmodel" in line]


def test_a_governor_that_a_core_lacks_is_not_asked_for(pi: TunableBoard) -> None:
    pi.write(f"{CPU}/cpu3/cpufreq/scaling_available_governors", "schedutil\n")
    before = pi.state()
    (outcome,) = fixing.fix(place_of(pi), "ann")
    assert outcome["state"] == "refused"
    assert pi.state() == before
    assert fixing.look(place_of(pi)) is None


def test_a_command_that_does_not_end_is_not_waited_for(jetson: TunableBoard) -> None:
    jetson.write("hangs")
    with pytest.raises(Refused, match="did not end"):
        run_as_root("jetson_clocks", [], timeout_s=0.3)


def test_a_restart_has_undone_all_but_the_power_mode(jetson: TunableBoard) -> None:
    place = place_of(jetson)
    fixing.fix(place, "ann")
    jetson.write("proc/sys/kernel/random/boot_id", "second\n")
    for core in CORES:
        jetson.write(f"{CPU}/cpu{core}/cpufreq/scaling_governor", "ondemand\n")  # its default now
    asked = len(jetson.asked_of_sudo())
    assert states(fixing.settle(place))["power-mode"] == "done"
    assert jetson.read("mode") == "1"
    assert jetson.state()["governors"] == ["ondemand"] * 4
    assert len(jetson.asked_of_sudo()) == asked + 1
    assert fixing.look(place) is None


def test_what_cannot_be_put_back_is_kept_in_mind(jetson: TunableBoard) -> None:
    before, place = jetson.state(), place_of(jetson)
    fixing.fix(place, "ann")
    jetson.write("sudo-asks")
    assert set(states(fixing.restore(place)).values()) == {"failed"}
    assert jetson.state() == FIXED
    told = fixing.look(place)
    assert told is not None
    assert told["state"] == "restoring"
    (jetson.root / "sudo-asks").unlink()
    fixing.settle(place)
    assert jetson.state() == before


# The record, which lies where others may write.

FORGED = [
    {"kind": "command", "before": "rm -rf /"},
    {"kind": "governor", "before": {"0": "perf; reboot"}},
    {"kind": "governor", "before": {"../../../etc/passwd": "performance"}},
    {"kind": "governor", "before": {}},
    {"kind": "governor", "before": "schedutil"},
    {"kind": "power-mode", "before": "0; reboot"},
    {"kind": "power-mode", "before": True},
    {"kind": "power-mode", "before": 100000},
    {"kind": "clocks", "before": "/etc/passwd"},
    {"kind": ["governor"], "before": {"0": "ondemand"}},
    "governor",
    None,
]


@pytest.mark.parametrize("change", FORGED)
def test_a_forged_record_runs_nothing(jetson: TunableBoard, change: Any) -> None:
    before, place = jetson.state(), place_of(jetson)
    told = {"schema": 1, "state": "held", "boot": "first", "holder": "x", "since": "x", "changes": [change]}
    jetson.write("../work/tuning.json", json.dumps(told))
    with pytest.raises(AgentFault, match=r"tuning\.json cannot be read"):
        fixing.restore(place)
    assert fixing.settle(place) == []
    assert fixing.claim(place, "run") is None
    with pytest.raises(AgentFault):
        fixing.fix(place, "ann")
    assert "problem" in (fixing.look(place) or {})
    assert (jetson.state(), jetson.asked_of_sudo()) == (before, [])


@given(
    st.binary()
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_bytes_are_a_record_or_none(content: bytes) -> None:
    try:
        record.parse(content)
    except (ValueError, RecursionError):
        return
    raise AssertionError("nothing of this is a record")


@pytest.mark.parametrize(
    "line",
    [
        "/etc/shadow:root::0:0",
        "/sys/../etc/passwd:x",
        "/sys/kernel/x:$(reboot)",
        "/sys/kernel/x y:1",
        "rm -rf /",
        "/systems/x:1",
    ],
)
def test_stored_clocks_that_would_write_elsewhere_are_refused(line: str) -> None:
    with pytest.raises(Refused, match="no clock"):
        check_stored(f"/sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq:729600\n{line}\n", "/")


def test_stored_clocks_that_were_exchanged_are_not_restored(jetson: TunableBoard) -> None:
    place = place_of(jetson)
    fixing.fix(place, "ann")
    stored = Path(place.folder.root) / "clocks.conf"
    stored.write_text(f"{jetson.root}/sys/anything:1\n")
    outcome = next(one for one in fixing.restore(place) if one["kind"] == "clocks")
    assert (outcome["state"], "is not what" in str(outcome["message"])) == ("failed", True)
    assert not (jetson.root / "sys/anything").exists()


def test_the_record_is_there_before_the_change(jetson: TunableBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "no space left")

    before = jetson.state()
    monkeypatch.setattr(record, "write_file", fail)
    with pytest.raises(OSError, match="no space"):
        fixing.fix(place_of(jetson), "ann")
    assert jetson.state() == before


def test_modes_and_what_asks_for_a_restart() -> None:
    modes = parse_modes(MODES)
    assert [(mode.mode_id, mode.name) for mode in modes] == [(0, "MAXN"), (1, "MODE_10W"), (2, "MODE_7W")]
    assert find_fastest(modes) == modes[0]
    assert not asks_for_restart(modes[1], modes[0])
    assert asks_for_restart(modes[2], modes[0])
    assert asks_for_restart(None, modes[0])
    assert find_fastest(parse_modes("< POWER_MODEL ID=2 NAME=MODE_15W_6CORE >")) is None
    super_too = parse_modes(MODES + "< POWER_MODEL ID=3 NAME=MAXN_SUPER >\n")
    assert find_fastest(super_too) == super_too[-1]


@given(st.text() | st.lists(st.sampled_from(MODES.splitlines())).map("\n".join))
def test_any_text_has_modes_or_none(text: str) -> None:
    assert all(mode.name in text for mode in parse_modes(text))


# Around real runs, with the agent as it is on a board.


@pytest.fixture
def board(tmp_path: Path, jetson: TunableBoard) -> Board:
    return Board(tmp_path / "work", build_agent(tmp_path).path)


def fix_board(board: Board) -> None:
    code, answer = board.call("fix", "ann@laptop")
    assert (code, set(states(answer["outcomes"]).values())) == (0, {"done"})


def start_slow_run(board: Board, run: str) -> list[dict[str, Any]]:
    """Start a run that would take minutes; the events up to its first round."""
    task = board.describe_task("a", make_model())
    slow = {"rounds": 500, "round_s": 0.2, "round_samples": 8, "warmup_s": 0.0, "warmup_inferences": 4}
    rules = {**slow, "warmup_cap_s": 1.0, "steady_window": 4, "steady_tolerance": 0.5, "power_window_s": 0.2}
    board.put_job(run, task, protocol=rules)
    assert board.call("start", run)[0] == 0
    seen = []
    with board.follow(run) as events:
        for event in events:
            seen.append(event)
            if event["event"] == "round":
                break
    return seen


def holder_of(board: Board) -> int:
    _, answer = board.call("status")
    return int(answer["holder"]["pid"])


def test_a_run_measures_with_the_fix_and_puts_it_back_at_its_end(board: Board, jetson: TunableBoard) -> None:
    before = jetson.state()
    fix_board(board)
    board.put_job("r1", board.describe_task("a", make_model()))
    events = board.measure("r1")
    (result,) = pick(events, "result")
    fix = result["measurement"]["environment"]["fix"]
    assert {one["kind"]: one["before"] for one in fix["changed"]} == {
        "power-mode": "mode 1",
        "governor": "schedutil",
        "clocks": "moving with the load",
    }
    assert result["measurement"]["environment"]["before"]["governor"] == "performance"
    assert jetson.state() == before
    assert not (board.work / "tuning.json").exists()
    board.put_job("r2", board.describe_task("a", make_model()))
    (result,) = pick(board.measure("r2"), "result")
    assert result["measurement"]["environment"]["fix"] is None


def test_a_run_that_is_stopped_puts_it_back(board: Board, jetson: TunableBoard) -> None:
    before = jetson.state()
    fix_board(board)
    start_slow_run(board, "r1")
    assert jetson.state() == FIXED
    assert board.call("fix", "bob")[0] == 4  # locked
    assert board.call("restore", "bob")[0] == 4
    assert board.call("conditions")[1]["fix"]["state"] == "held"
    assert board.call("stop", "r1")[1] == {"stopped": True}
    assert jetson.state() == before


def is_running(pid: str) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # that of a zombie is empty
    except OSError:
        return False


@pytest.mark.parametrize("by_whom", ["stop", "signal"])
def test_a_run_that_is_stopped_while_it_looks_for_its_meter_puts_it_back(
    board: Board, jetson: TunableBoard, tmp_path: Path, by_whom: str
) -> None:
    before = jetson.state()
    fix_board(board)
    mark = tmp_path / "meter.pid"
    meter = {"command": ["sh", "-c", f"echo $$ > '{mark}'; exec sleep 100"]}
    board.put_job("r1", board.describe_task("a", make_model()), meter=meter)
    with board.start_call("run", "r1", stderr=subprocess.PIPE) as process:
        while not (mark.exists() and mark.read_text().strip()):
            assert process.poll() is None
            time.sleep(0.02)
        assert jetson.state() == FIXED
        if by_whom == "stop":
            assert board.call("stop", "r1") == (0, {"stopped": True})
        else:
            process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0
    events = board.read_journal("r1")
    assert [one["event"] for one in events] == ["run-started", "run-ended"]
    assert events[-1]["reason"] == ("stopped" if by_whom == "stop" else "interrupted")
    assert events[-1]["error"] is None
    assert jetson.state() == before
    assert not (board.work / "tuning.json").exists()
    assert board.call("status") == (0, {"holder": None})
    assert not is_running(mark.read_text().strip())
    board.put_job("r1", board.describe_task("a", make_model()))
    assert board.measure("r1")[-1]["reason"] == "completed"


@pytest.mark.parametrize("failing", ["__init__", "say_started"])
def test_a_run_that_breaks_before_it_measures_puts_it_back(
    board: Board, jetson: TunableBoard, failing: str
) -> None:
    before = jetson.state()
    fix_board(board)
    board.put_job("r1", board.describe_task("a", make_model()))
    program = (
        "import sys; from device_agent.launch import run_here; from device_agent.run import Run; "
        "from device_agent.work_folder import WorkFolder; "
        f"Run.{failing} = lambda *_: 1 / 0; run_here(WorkFolder(sys.argv[1]), 'r1', None)"
    )
    environment = {**os.environ, "PYTHONPATH": str(board.agent)}
    command = [sys.executable, "-c", program, str(board.work)]
    broken = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert broken.stderr.strip().endswith("ZeroDivisionError: division by zero")
    assert jetson.state() == before
    assert not (board.work / "tuning.json").exists()


def test_what_a_killed_run_leaves_is_put_back_by_the_next_contact(board: Board, jetson: TunableBoard) -> None:
    before = jetson.state()
    fix_board(board)
    start_slow_run(board, "r1")
    os.kill(holder_of(board), signal.SIGKILL)
    wait_until_free(board)
    assert jetson.state() == FIXED
    _, told = board.call("conditions")
    assert states(told["settled"]) == {"power-mode": "done", "governor": "done", "clocks": "done"}
    assert told["fix"] is None
    assert jetson.state() == before


def test_another_run_measures_without_what_a_killed_one_left(board: Board, jetson: TunableBoard) -> None:
    before = jetson.state()
    fix_board(board)
    start_slow_run(board, "r1")
    os.kill(holder_of(board), signal.SIGKILL)
    wait_until_free(board)
    board.put_job("r2", board.describe_task("a", make_model()))
    (result,) = pick(board.measure("r2"), "result")
    assert result["measurement"]["environment"]["fix"] is None
    assert result["measurement"]["environment"]["before"]["governor"] == "schedutil"
    assert jetson.state() == before


def test_a_killed_run_that_goes_on_keeps_what_it_measured_with(board: Board, jetson: TunableBoard) -> None:
    before = jetson.state()
    fix_board(board)
    last = start_slow_run(board, "r1")[-1]["seq"]
    os.kill(holder_of(board), signal.SIGKILL)
    wait_until_free(board)
    assert board.call("start", "r1")[0] == 0
    with board.follow("r1", after=last) as events:
        started = wait_for(events, "run-started")
        assert started["environment"]["governor"] == "performance"
        assert started["environment"]["fix"] is not None
        wait_for(events, "round")
    board.call("stop", "r1")
    assert jetson.state() == before


def test_a_fix_that_is_killed_midway_is_undone_by_the_next_contact(
    board: Board, jetson: TunableBoard
) -> None:
    before = jetson.state()
    jetson.write("is-slow")  # it goes on when the agent is dead, and changes the clocks a second later
    with board.start_call("fix", "ann", start_new_session=True) as process:
        while not (jetson.root / "is-hanging").exists():
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    assert json.loads((board.work / "tuning.json").read_text())["state"] == "applying"
    assert jetson.state()["governors"] == ["performance"] * 4
    _, told = board.call("conditions")
    assert set(states(told["settled"]).values()) == {"done"}
    assert jetson.state() == before


def test_files_of_the_fix_are_for_their_owner_alone(board: Board, jetson: TunableBoard) -> None:
    fix_board(board)
    for name in ("tuning.json", "clocks.conf"):
        assert (board.work / name).stat().st_mode & 0o777 == 0o600


def wait_until_free(board: Board) -> None:
    for _ in range(200):
        if board.call("status")[1] == {"holder": None}:
            return
        time.sleep(0.02)
    raise AssertionError("the lock is still held")
