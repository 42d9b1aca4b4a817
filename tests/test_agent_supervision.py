"""How a worker's death is explained, and what fits into memory together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from device_agent import protocol, supervision
from device_agent.lock import acquire_lock, find_holder
from device_agent.measurement import TaskFailed
from device_agent.notify import Pokes, connect
from device_agent.run import has_room
from device_agent.sensors.load import Memory
from device_agent.supervision import WorkerProcess, explain_death, read_tail
from device_agent.watching import Watch
from device_agent.work_folder import WorkFolder
from host.fleet.agent_archive import build_agent


@pytest.mark.parametrize(
    ("code", "has_oom_killed", "tail", "kind", "told"),
    [
        (-signal.SIGKILL, True, "", protocol.FAILED_MEMORY, "out of memory"),
        (-signal.SIGKILL, False, "", protocol.FAILED_CRASH, "SIGKILL"),
        (-signal.SIGSEGV, True, "", protocol.FAILED_CRASH, "SIGSEGV"),
        (-signal.SIGABRT, False, "terminate called: std::bad_alloc", protocol.FAILED_MEMORY, "memory"),
        (-signal.SIGILL, False, "", protocol.FAILED_CRASH, "SIGILL"),
        (-70, False, "", protocol.FAILED_CRASH, "signal 70"),
        (3, False, "Traceback\nboom", protocol.FAILED_CRASH, "boom"),
    ],
)
def test_a_death_is_named_by_what_is_known_of_it(
    code: int, has_oom_killed: bool, tail: str, kind: str, told: str
) -> None:
    failure = explain_death(code, has_oom_killed, tail)
    assert failure.kind == kind
    assert told in failure.message


def test_a_failure_quotes_the_end_of_a_long_log_from_the_start_of_a_line(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("".join(f"line {index}\n" for index in range(10000)) + "the last words")
    tail = read_tail(str(log))
    assert tail.endswith("the last words")
    assert tail.startswith("line ")
    assert len(tail) <= 2000


def test_another_worker_is_opened_while_the_guard_stays_free() -> None:
    assert has_room(Memory(1000.0, 400.0), 200.0)
    assert not has_room(Memory(1000.0, 300.0), 200.0)
    assert has_room(Memory(1000.0, None), 200.0)  # a kernel that does not tell


def test_nobody_waits_forever_for_a_worker_that_cannot_be_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(supervision, "_EXIT_S", 0.1)
    monkeypatch.setattr(sys, "argv", [str(build_agent(tmp_path).path)])
    reader, writer = os.pipe()
    wakeup = SimpleNamespace(descriptor=reader)
    worker = WorkerProcess(str(tmp_path), "worker.log", wakeup, Watch("/"))  # type: ignore[arg-type]
    with monkeypatch.context() as patched:
        patched.setattr(subprocess.Popen, "kill", lambda _process: None)  # as in state D
        os.kill(worker.pid, signal.SIGSTOP)
        with pytest.raises(TaskFailed, match=r"no sign of life for 0 s.*could not be killed"):
            worker.ask({"do": "open"}, 0.2)
    assert "does not end" in capfd.readouterr().err
    assert not worker.end()
    os.kill(worker.pid, signal.SIGKILL)
    os.waitpid(worker.pid, 0)
    assert worker.end()
    for descriptor in (reader, writer):
        os.close(descriptor)


def test_the_end_of_a_run_leaves_the_socket_of_the_next_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ending = Pokes()
    ending.withdraw()
    following = Pokes()
    ending.close()
    follower = connect(str(tmp_path))
    assert follower is not None
    follower.close()
    following.withdraw()
    assert connect(str(tmp_path)) is None
    following.close()


def test_the_lock_goes_with_its_descriptor(tmp_path: Path) -> None:
    folder = WorkFolder(str(tmp_path / "work"))
    assert find_holder(folder) is None
    descriptor = acquire_lock(folder, "r1", "ann@laptop")
    holder: Any = find_holder(folder)
    assert (holder["run"], holder["holder"], holder["pid"]) == ("r1", "ann@laptop", os.getpid())
    os.close(descriptor)
    assert find_holder(folder) is None
