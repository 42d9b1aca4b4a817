"""What a board is asked to measure, and what is said when it cannot be stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from host import measuring
from host.errands import Errand, bound_task_s, name_holder, plan_errands
from host.errors import DeviceError
from host.fleet.boards import Board
from host.fleet.journal import JobTask, RunEnded, parse_event
from host.fleet.remote import Remote
from host.ledger.store import Ledger
from host.measuring import check_end, find_silence_s, measure_errands
from host.specs.artifact import Blob
from host.specs.measure import Measure
from tests.test_boards import make_board, make_plan
from tests.test_collect import make_artifact
from tests.tiny_plans import Watched

PLAN = make_plan(batch=4)


def make_errand(board: Board, cache: Path, attempt: str = "") -> Errand:
    artifacts = {task.variant_id: make_artifact(None, 3, 8, 8) for task in PLAN.tasks}
    (errand,) = plan_errands("r1", PLAN, PLAN.tasks, [board], artifacts, cache, attempt)
    return errand


def test_rounds_of_another_agent_or_other_packages_are_never_gone_on_with(tmp_path: Path) -> None:
    board = make_board()
    other = Blob(path=Path("other"), sha256="1" * 64, size=0)
    runs = [
        make_errand(board, tmp_path).job.run,
        make_errand(board, tmp_path, attempt="again").job.run,
        make_errand(replace(board, agent=other), tmp_path).job.run,
        make_errand(replace(board, layer=other), tmp_path).job.run,
    ]
    assert len(set(runs)) == 4
    assert make_errand(board, tmp_path).job.run == runs[0]


def ask(cache: Path, **runtime: object) -> JobTask:
    """What a board is asked for one task with these settings."""
    plan = make_plan(**runtime)
    artifacts = {task.variant_id: make_artifact(None, 3, 8, 8) for task in plan.tasks}
    (errand,) = plan_errands("r1", plan, plan.tasks, [make_board()], artifacts, cache)
    (asked,) = errand.job.tasks
    return asked


def test_a_board_is_asked_for_the_runtime_with_the_options_that_are_set(tmp_path: Path) -> None:
    plain = ask(tmp_path)
    assert (plain.runtime, plain.provider, plain.options) == ("onnxruntime", "CPUExecutionProvider", {})
    assert ask(tmp_path, spinning=False).options == {"spinning": False}
    half = ask(tmp_path, name="openvino", inference_precision="f16")
    assert (half.runtime, half.provider, half.options) == ("openvino", "CPU", {"inference_precision": "f16"})
    native = ask(tmp_path, name="tensorrt", batch=2)
    assert (native.runtime, native.provider, native.batch) == ("tensorrt", "GPU", 2)


def test_ncnn_is_sent_its_own_form_of_a_model_and_not_the_packed_onnx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = Blob(path=tmp_path / "model.ncnn", sha256="c" * 64, size=3)
    monkeypatch.setattr("host.compress.ncnn_files.provide_ncnn", lambda *_: converted)
    packed = Blob(path=tmp_path / "model.packed", sha256="d" * 64, size=2)
    artifact = make_artifact(None, 3, 8, 8).model_copy(update={"packed": packed})
    plan = make_plan(name="ncnn")
    artifacts = {task.variant_id: artifact for task in plan.tasks}
    (errand,) = plan_errands("r1", plan, plan.tasks, [make_board()], artifacts, tmp_path)
    assert [task.model for task in errand.job.tasks] == [converted.sha256]
    assert converted in errand.blobs
    assert artifact.blob not in errand.blobs
    assert errand.packed == {}


@pytest.mark.parametrize(
    ("measure", "longest_s", "hours"),
    [
        ({"preset": "quick"}, 3 * (30 + 64), 1.5),
        ({"preset": "standard"}, 5 * (30 + 200), 2),
        ({"preset": "rigorous"}, 9 * (30 + 112), 3),
        ({"scenario": "sustained", "duration_s": 4 * 3600}, 4 * 3600, 40),
        ({"scenario": "paced", "rate_hz": 0.5}, 5 * 400, 4),
    ],
)
def test_a_task_is_bounded_by_what_its_protocol_may_take(
    tmp_path: Path, measure: dict[str, object], longest_s: float, hours: float
) -> None:
    tasks = make_errand(make_board(), tmp_path).job.tasks
    bound_s = bound_task_s(Measure.model_validate(measure), tasks)
    assert longest_s < bound_s < hours * 3600


def test_a_task_that_builds_engines_has_longer(tmp_path: Path) -> None:
    tasks = make_errand(make_board(), tmp_path).job.tasks
    engines = [task.model_copy(update={"runtime": "tensorrt"}) for task in tasks]
    assert bound_task_s(Measure(), engines) == bound_task_s(Measure(), tasks) + 3000


def test_a_board_is_told_the_bound_and_its_run_may_be_silent_for_no_longer(tmp_path: Path) -> None:
    errand = make_errand(make_board(), tmp_path)
    told = errand.job.as_message()["timeouts"]
    assert told == {"task_s": bound_task_s(PLAN.measure, errand.job.tasks)}
    silence_s = find_silence_s(errand)
    assert silence_s is not None
    assert told["task_s"] + PLAN.measure.cooldown_cap_s < silence_s < 1.2 * told["task_s"]


class Deaf(Board):
    """A board that takes a connection and then does nothing until `release` is set."""

    taken = threading.Event()
    release = threading.Event()

    @contextmanager
    def connect(self) -> Iterator[Remote]:
        self.taken.set()
        self.release.wait(60)
        raise ConnectionError("released")
        yield


def test_a_board_that_does_not_stop_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "STOP_SECONDS", 0.2)
    plain = make_board()
    deaf = Deaf(plain.device, plain.facts, plain.agent, plain.layer, plain.deployment)
    progress = Watched()
    main = threading.main_thread()

    def press_ctrl_c() -> None:
        Deaf.taken.wait()
        signal.pthread_kill(main.ident or 0, signal.SIGINT)

    # A shell's background jobs ignore SIGINT, and so would the tests if they run in such a job.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt = threading.Thread(target=press_ctrl_c)
    interrupt.start()
    try:
        with (
            Ledger.open(f"sqlite:///{tmp_path}/results.sqlite") as ledger,
            pytest.raises(KeyboardInterrupt),
        ):
            measure_errands([make_errand(deaf, tmp_path)], ledger, progress)
    finally:
        Deaf.release.set()
        interrupt.join()
        signal.signal(signal.SIGINT, before)
    assert any("pi4 did not say that it stopped" in said for said in progress.said)


def test_a_user_without_a_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2_000_000_000)  # nobody has it in the table of users
    assert name_holder() == f"2000000000@{socket.gethostname()}"
    monkeypatch.setenv("LOGNAME", "ann")
    assert name_holder() == f"ann@{socket.gethostname()}"


def end(reason: str, error: dict[str, str] | None = None) -> RunEnded:
    line = {"seq": 1, "wall": 1.8e9, "mono": 5.0, "event": "run-ended", "ok": 1, "failed": 0}
    event = parse_event(json.dumps({**line, "reason": reason, "error": error}).encode())
    assert isinstance(event, RunEnded)
    return event


def test_a_run_that_somebody_stopped_on_the_board_is_no_success() -> None:
    with pytest.raises(DeviceError, match="pi4: the run was stopped on the board before all was measured"):
        check_end(make_board().device, end("stopped"))


def test_a_run_that_failed_on_the_board_says_why() -> None:
    with pytest.raises(DeviceError, match="disk") as caught:
        check_end(make_board().device, end("failed", {"kind": "no-space", "message": "no space left"}))
    assert "pi4" in str(caught.value)


def test_a_run_that_reached_its_end_is_fine() -> None:
    check_end(make_board().device, end("completed"))
