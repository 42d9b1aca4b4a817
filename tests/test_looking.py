"""Boards that are looked at while somebody measures there: through the real agent, without disturbing it."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from host.errors import DeviceError
from host.fleet import emulator
from host.fleet.journal import Event, TaskProgress
from host.fleet.looking import Lookout, look_at
from host.fleet.registry import save_device
from host.fleet.remote import Completed
from host.fleet.standing import Standing
from host.report.standings import WatchTable
from host.workspace import Workspace
from tests.bench_command import bench, start_bench
from tests.test_following import MEASURE, Bench, make_bench
from tests.test_registry import make_device


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("looking"))


def look(board: Bench) -> Standing:
    with board.connect() as remote:
        return look_at(remote, board.device, board.agent)


def test_a_board_is_seen_idle_and_at_each_step_of_a_run(board: Bench) -> None:
    seen: list[tuple[TaskProgress, Standing]] = []

    def watch(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.phase in ("warming", "round"):
            os.kill(board.find_run(), signal.SIGSTOP)  # what it does next must not come before the look
            try:
                seen.append((event, look(board)))
            finally:
                os.kill(board.find_run(), signal.SIGCONT)

    assert look(board).state == "idle"
    slow = MEASURE.model_copy(update={"rounds": 2, "round_s": 0.4})
    board.follow(board.job("t1", "t2", measure=slow), on_event=watch)
    assert look(board).state == "idle"
    assert {standing.state for _, standing in seen} == {"measuring"}
    assert {(standing.run, standing.holder) for _, standing in seen} == {("r1", "me@laptop")}
    assert {standing.task for _, standing in seen} == {"t1", "t2"}
    assert [standing.rounds_done for _, standing in seen] == [0, 1, 2, 3]
    assert {standing.rounds_total for _, standing in seen} == {4}
    assert [standing.phase for _, standing in seen] == [event.phase for event, _ in seen]
    assert seen[-1][1].eta_s is not None


def test_a_board_that_gets_files_is_deploying(board: Bench) -> None:
    part = Path(board.device.work_folder) / "blobs" / f"{'a' * 64}.part"
    part.write_bytes(b"half")
    assert look(board).state == "deploying"
    os.utime(part, (1e9, 1e9))
    assert look(board).state == "idle"
    part.unlink()


class Telling:
    """A board that answers what it is told to."""

    device_name = "pi4"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def run(self, *_words: object, **_options: object) -> Completed:
        return Completed(json.dumps(self.answer).encode(), b"", 0)


RUN = {
    "rounds_total": 3,
    "rounds_done": 1,
    "rounds_since": 1,
    "elapsed_s": 5.0,
    "task": "t1",
    "phase": "round",
}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"holder": 3, "run": None, "is_receiving": False},
        {"holder": None, "run": None, "is_receiving": "no"},
        {"holder": {"run": "r" * 9000}, "run": None, "is_receiving": False},
        {"holder": {}, "run": {**RUN, "rounds_done": -1}, "is_receiving": False},
        {"holder": {}, "run": {**RUN, "task": "../../x"}, "is_receiving": False},
        {"holder": {}, "run": {**RUN, "elapsed_s": 1e400}, "is_receiving": False},
    ],
)
def test_an_answer_that_cannot_be_is_refused(board: Bench, answer: dict[str, Any]) -> None:
    with pytest.raises(DeviceError, match="`look` does not fit"):
        look_at(Telling(answer), board.device, board.agent)  # type: ignore[arg-type] # of a Remote it is one method


def test_what_a_board_says_of_itself_does_not_drive_a_terminal(board: Bench) -> None:
    told = {"holder": {"holder": "ann\x1b[2J"}, "run": None, "is_receiving": False}
    standing = look_at(Telling(told), board.device, board.agent)  # type: ignore[arg-type] # as above
    assert "\x1b" not in (standing.holder or "")


def test_a_log_gets_a_line_for_each_change() -> None:
    stream = io.StringIO()
    with WatchTable(stream) as table:
        for state in ("idle", "idle", "deploying"):
            table.show({"pi4": Standing(device="pi4", state=state)})
    assert stream.getvalue().splitlines() == ["pi4  idle", "pi4  deploying"]


def test_boards_that_are_off_lost_or_refuse_are_told_apart(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    up = emulator.up(workspace, "up", 1)
    try:
        emulator.up(workspace, "off", 1)
        emulator.down(workspace, "off")
        save_device(workspace, make_device("gone", host="127.0.0.1", port=9))
        changed = {"name": "changed", "emulation": None, "fingerprint": "SHA256:" + "A" * 43}
        save_device(workspace, up.model_copy(update=changed))
        said = bench(tmp_path, "devices", "list", "--watch", "--times", "1", "--format", "json")
        states = {one["device"]: one for one in map(json.loads, said.splitlines())}
        assert {name: one["state"] for name, one in states.items()} == {
            "up": "idle",
            "off": "off",
            "gone": "lost",
            "changed": "failed",
        }
        assert "refuses connections" in states["gone"]["why"]
        assert states["gone"]["next_try"] > states["gone"]["since"]
        assert emulator.status(workspace, "off").state == "down"
        heard: list[Any] = []
        Lookout("up", workspace, 1.0, 2).watch(heard.append)
        assert [one.state for one in heard] == ["idle", "idle"]
    finally:
        emulator.down(workspace, "up")


def test_ctrl_c_ends_watching_as_it_should(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        port = server.getsockname()[1]
        save_device(Workspace(tmp_path), make_device("silent", host="127.0.0.1", port=port))
        process = start_bench(tmp_path, "devices", "list", "--watch")
        link, _ = server.accept()  # it looks
    with process, link:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert not (tmp_path / "results").exists()
