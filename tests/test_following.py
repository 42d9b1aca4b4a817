"""Runs that are followed to their end: the real agent measures; links break and runs vanish where planted."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from host.errors import BoardBusy, DeviceError, Interrupted, LinkLost
from host.fleet.agent_archive import build_agent
from host.fleet.deploying import deploy
from host.fleet.following import follow_run, stop_run
from host.fleet.journal import Event, Job, JobTask, Result, Round, RunEnded, RunStarted, TaskProgress
from host.fleet.patience import Lost, Patience
from host.fleet.probing import bootstrap_agent
from host.fleet.remote import Completed, Remote
from host.fleet.ssh import open_ssh
from host.progress import Silent
from host.specs.artifact import Blob
from host.specs.device import Device
from host.specs.measure import Measure
from tests.local_remote import BrittleRemote, LocalRemote

FAST = Patience(first_s=0.01, longest_s=0.05, total_s=0.3, meeting_s=0.1, jitter=0)
TINY = {"round_s": 0.02, "round_samples": 16, "warmup_s": 0, "warmup_cap_s": 0.2, "steady_window": 4}
MEASURE = Measure.model_validate({**TINY, "rounds": 3, "power_window_s": 0.1})
ENDLESS = Measure.model_validate({**TINY, "rounds": 1000, "round_s": 60, "power_window_s": 0.1})


def make_blob(folder: Path, content: bytes) -> Blob:
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder / sha256
    path.write_bytes(content)
    return Blob(path=path, sha256=sha256, size=len(content))


def make_model() -> bytes:
    """Four pixels times a weight for each of three classes."""
    weights = np.arange(12, dtype=np.float32).reshape(4, 3) - 5
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 1, 2, 2))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, 3))],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def pack_arrays(**arrays: np.ndarray[Any, Any]) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


@dataclass
class Recorder(Silent):
    """Progress that remembers what it was told."""

    said: list[str] = field(default_factory=list)

    def say(self, message: str) -> None:
        self.said.append(message)


class Bench:
    """A board with the agent, a model and its inputs on it, and what a test heard of a run there."""

    def __init__(self, device: Device, folder: Path, connect: Callable[[], Any]) -> None:
        self.device = device
        self.connect = connect
        self.agent = build_agent(folder)
        self.heard: list[Event] = []
        self.progress = Recorder()
        images = np.random.default_rng(0).normal(size=(8, 1, 2, 2)).astype(np.float32)
        blobs = {
            "model": make_blob(folder, make_model()),
            "feeds": make_blob(folder, pack_arrays(image=images[:, None])),
            "evaluation": make_blob(folder, pack_arrays(x=images, y=np.zeros(8, np.int64))),
        }
        self.files = {name: blob.sha256 for name, blob in blobs.items()}
        with connect() as remote:
            bootstrap_agent(remote, device, self.agent)
            deploy(remote, device, self.agent, tuple(blobs.values()), None, Silent())

    def job(self, *tasks: str, run: str = "r1", measure: Measure = MEASURE) -> Job:
        settings = {"runtime": "onnxruntime", "provider": "CPUExecutionProvider", "threads": 1, "batch": 1}
        return Job(
            run=run,
            holder="me@laptop",
            seed=0,
            layer=None,
            measure=measure,
            tasks=tuple(JobTask.model_validate({"task": task, **self.files, **settings}) for task in tasks),
        )

    def follow(
        self,
        job: Job,
        *,
        wear: Callable[[Remote], Remote] = lambda remote: remote,
        on_event: Callable[[Event], None] = lambda event: None,
        **options: Any,
    ) -> RunEnded:
        @contextmanager
        def open_remote() -> Iterator[Remote]:
            with self.connect() as remote:
                yield wear(remote)

        def hear(event: Event) -> None:
            self.heard.append(event)
            on_event(event)

        options = {"patience": FAST, **options}
        return follow_run(open_remote, self.device, self.agent, job, hear, self.progress, **options)

    def kill_run(self) -> None:
        """End the process of the run as the kernel does when memory is out."""
        self.signal_run(signal.SIGKILL)

    def signal_run(self, number: signal.Signals) -> None:
        os.kill(self.find_run(), number)

    def find_run(self) -> int:
        lock = Path(self.device.work_folder) / "lock"
        return int(json.loads(lock.read_text())["pid"])

    def stop(self, run: str = "r1") -> bool:
        with self.connect() as remote:
            return stop_run(remote, self.device, self.agent, run)

    def heard_of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.heard if isinstance(event, kind)]

    def assert_whole(self, *tasks: str, rounds: int = MEASURE.rounds) -> None:
        """Every event once and in order, every round and result of every task once."""
        assert [event.seq for event in self.heard] == list(range(1, len(self.heard) + 1))
        found = sorted((event.task, event.round) for event in self.heard_of(Round))
        assert found == sorted(itertools.product(tasks, range(rounds)))
        assert sorted(event.task for event in self.heard_of(Result)) == sorted(tasks)


def make_device(work_folder: Path) -> Device:
    fingerprint = "SHA256:" + "A" * 43
    return Device(
        name="pi4", host="h", fingerprint=fingerprint, python=sys.executable, work_folder=str(work_folder)
    )


def make_bench(folder: Path) -> Bench:
    """A board that is a folder of this machine."""
    (folder / "home").mkdir()

    @contextmanager
    def connect() -> Iterator[Remote]:
        yield LocalRemote("pi4", folder / "home")

    return Bench(make_device(folder / "board"), folder, connect)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = make_bench(tmp_path)
    yield bench
    bench.stop()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A board on which run r1 has measured t1, to its end."""
    bench = make_bench(tmp_path_factory.mktemp("measured"))
    bench.follow(bench.job("t1"))
    return bench


@pytest.fixture
def finished(measured: Bench) -> Bench:
    """The same board, and nothing heard of it yet."""
    measured.heard, measured.progress = [], Recorder()
    return measured


def test_a_run_is_followed_from_its_start_to_its_end(bench: Bench) -> None:
    ended = bench.follow(bench.job("t1", "t2"))
    assert (ended.reason, ended.ok, ended.failed) == ("completed", 2, 0)
    assert isinstance(bench.heard[0], RunStarted)
    assert bench.heard[-1] is ended
    bench.assert_whole("t1", "t2")
    result = bench.heard_of(Result)[0].measurement
    assert result.provider == "CPUExecutionProvider"
    assert 0 <= result.accuracy <= 1
    assert result.memory_mb.peak > 0


def test_a_model_that_cannot_be_opened_is_a_result_and_not_the_end(bench: Bench) -> None:
    job = bench.job("t1", "t2")
    broken = job.tasks[0].model_copy(update={"model": bench.files["feeds"]})
    ended = bench.follow(job.model_copy(update={"tasks": (broken, job.tasks[1])}))
    assert (ended.ok, ended.failed) == (1, 1)
    failed = next(event for event in bench.heard_of(Result) if event.status == "failed")
    assert (failed.task, failed.error.kind) == ("t1", "open")


def test_a_finished_run_comes_again_from_its_first_event(finished: Bench) -> None:
    finished.follow(finished.job("t1"))
    first, finished.heard = finished.heard, []
    finished.follow(finished.job("t1"))
    assert finished.heard == first
    finished.assert_whole("t1")


def test_across_links_that_break_every_event_of_a_run_under_way_comes_once(bench: Bench) -> None:
    ended = bench.follow(bench.job("t1", "t2"), wear=lambda remote: BrittleRemote(remote, lines_left=4))
    assert ended.reason == "completed"
    bench.assert_whole("t1", "t2")
    assert "trying again" in bench.progress.said[0]


def test_a_link_that_breaks_after_every_line_is_enough(finished: Bench) -> None:
    ended = finished.follow(finished.job("t1"), wear=lambda remote: BrittleRemote(remote, lines_left=1))
    assert ended.reason == "completed"
    finished.assert_whole("t1")


@dataclass
class Faltering(BrittleRemote):
    """A link that breaks after one command has been carried out, before its answer arrives."""

    word: str = ""
    times: list[int] = field(default_factory=lambda: [1])

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        completed = super().run(argv, stdin=stdin, timeout=timeout)
        if self.word in argv and self.times:
            self.times.pop()
            raise LinkLost("pi4: the link broke")
        return completed


@pytest.mark.parametrize("word", ["put-job", "start"])
def test_a_link_that_breaks_while_starting_starts_one_run(bench: Bench, word: str) -> None:
    times = [1]
    ended = bench.follow(bench.job("t1"), wear=lambda remote: Faltering(remote, word=word, times=times))
    assert not times
    assert ended.reason == "completed"
    assert len(bench.heard_of(RunStarted)) == 1


def test_a_link_that_breaks_after_the_last_event_does_not_start_the_run_again(finished: Bench) -> None:
    finished.follow(finished.job("t1"))
    count = len(finished.heard)
    finished.heard.clear()
    ended = finished.follow(finished.job("t1"), wear=lambda remote: BrittleRemote(remote, lines_left=count))
    assert ended.reason == "completed"
    assert len(finished.heard_of(RunStarted)) == 1
    finished.assert_whole("t1")


def test_a_board_that_never_answered_is_not_waited_for_long(finished: Bench) -> None:
    tries: list[int] = []

    def open_remote() -> AbstractContextManager[Remote]:
        tries.append(1)
        raise LinkLost("pi4: no route to h:22")

    with pytest.raises(LinkLost, match="no route"):
        follow_run(
            open_remote,
            finished.device,
            finished.agent,
            finished.job("t1"),
            finished.heard.append,
            finished.progress,
            patience=FAST,
        )
    assert 1 < len(tries) < 20
    assert finished.progress.said[0] == "pi4: no route to h:22; trying again in 0.01 s"


def vanish_after(connections: int) -> Callable[[Remote], Remote]:
    """A network that works for so many connections, each cut after one line, and then no more."""
    left = itertools.count(connections, -1)

    def wear(remote: Remote) -> Remote:
        if next(left) <= 0:
            raise LinkLost("pi4: timed out")
        return BrittleRemote(remote, lines_left=1)

    return wear


def test_a_board_that_stays_silent_is_given_up_with_what_to_do(finished: Bench) -> None:
    with pytest.raises(DeviceError) as caught:
        finished.follow(finished.job("t1"), wear=vanish_after(2))
    assert not isinstance(caught.value, LinkLost)
    assert caught.value.message.startswith("pi4: no sign of it for ")
    assert caught.value.message.endswith(" s: timed out")
    assert "resuming" in (caught.value.hint or "")
    delays = [float(said.split(" in ")[-1].removesuffix(" s")) for said in finished.progress.said]
    assert max(delays) == FAST.longest_s
    assert delays[-1] == FAST.longest_s


def test_it_is_told_since_when_a_board_is_lost_and_when_it_is_tried_again(finished: Bench) -> None:
    told: list[Lost] = []
    with pytest.raises(DeviceError, match="no sign"):
        finished.follow(finished.job("t1"), wear=vanish_after(1), notice=told.append)
    assert all(lost.since <= lost.next_try for lost in told)
    assert {lost.since for lost in told[1:]} == {told[1].since}
    assert told[-1].why == "pi4: timed out"


def test_who_waits_for_a_lost_board_can_be_interrupted(finished: Bench) -> None:
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(Interrupted):
        finished.follow(finished.job("t1"), wear=vanish_after(1), stopping=stopping)


def test_a_run_that_vanished_is_started_again_and_measures_only_the_rest(bench: Bench) -> None:
    killed: list[int] = []

    def kill_once(event: Event) -> None:
        if isinstance(event, Round) and not killed:
            killed.append(event.seq)
            bench.kill_run()

    ended = bench.follow(bench.job("t1", "t2"), on_event=kill_once)
    assert ended.reason == "completed"
    assert len(bench.heard_of(RunStarted)) == 2
    bench.assert_whole("t1", "t2")
    assert bench.progress.said == ["pi4: the run is gone; starting it again (1 of 2)"]


def test_a_run_that_vanishes_every_time_ends_with_the_words_of_the_agent(bench: Bench) -> None:
    log = Path(bench.device.work_folder) / "runs" / "r1" / "agent.log"

    def kill(event: Event) -> None:
        if isinstance(event, RunStarted):
            log.write_text("thermal shutdown\x1b[2J")
            bench.kill_run()

    with pytest.raises(DeviceError) as caught:
        bench.follow(bench.job("t1", measure=ENDLESS), on_event=kill)
    assert "ended 3 times without a word; its log ends:\nthermal shutdown" in caught.value.message
    assert "\x1b" not in caught.value.message
    assert len(bench.heard_of(RunStarted)) == 3


def test_an_interrupted_host_joins_its_run_again(bench: Bench) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Round):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.follow(bench.job("t1", "t2"), on_event=interrupt)
    bench.heard.clear()
    assert bench.follow(bench.job("t1", "t2")).reason == "completed"
    assert len(bench.heard_of(RunStarted)) == 1
    bench.assert_whole("t1", "t2")


def test_a_stopped_run_says_so_and_can_be_finished_later(bench: Bench) -> None:
    stopped: list[bool] = []

    def stop_once(event: Event) -> None:
        if isinstance(event, Round) and not stopped:
            stopped.append(bench.stop())

    assert bench.follow(bench.job("t1", "t2"), on_event=stop_once).reason == "stopped"
    assert stopped == [True]
    bench.heard.clear()
    assert bench.follow(bench.job("t1", "t2")).reason == "completed"
    assert [event.reason for event in bench.heard_of(RunEnded)] == ["stopped", "completed"]
    bench.assert_whole("t1", "t2")


def test_a_run_that_a_shutdown_ended_goes_on_by_itself(bench: Bench) -> None:
    ended_by: list[int] = []

    def shut_down_once(event: Event) -> None:
        if isinstance(event, Round) and not ended_by:
            ended_by.append(event.seq)
            bench.signal_run(signal.SIGTERM)

    assert bench.follow(bench.job("t1", "t2"), on_event=shut_down_once).reason == "completed"
    assert [event.reason for event in bench.heard_of(RunEnded)] == ["interrupted", "completed"]
    bench.assert_whole("t1", "t2")


def test_a_run_that_is_ended_again_and_again_but_measures_meanwhile_is_not_given_up(bench: Bench) -> None:
    def kill_after_each_round(event: Event) -> None:
        if isinstance(event, Round) and event.round < 3:
            bench.signal_run(signal.SIGKILL)

    job = bench.job("t1", measure=MEASURE.model_copy(update={"rounds": 4}))
    assert bench.follow(job, on_event=kill_after_each_round).reason == "completed"
    assert len(bench.heard_of(RunStarted)) == 4 > FAST.restarts + 1
    bench.assert_whole("t1", rounds=4)


def test_a_run_that_lives_and_says_nothing_is_given_up(bench: Bench) -> None:
    def freeze(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.phase == "warming":
            bench.signal_run(signal.SIGSTOP)

    try:
        with pytest.raises(DeviceError, match="has said nothing for 1 s, though its process lives") as caught:
            bench.follow(bench.job("t1", measure=ENDLESS), on_event=freeze, silence_s=1.0)
        assert "resuming" in (caught.value.hint or "")
    finally:
        bench.signal_run(signal.SIGCONT)


def make_slow(line: bytes) -> list[bytes]:
    return change(first_inference_ms=3000.0)(line) if b'"event": "task-opened"' in line else [line]


def test_a_run_of_slow_models_may_say_nothing_for_longer(bench: Bench) -> None:
    def freeze(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.phase == "warming":
            bench.signal_run(signal.SIGSTOP)

    try:
        with pytest.raises(DeviceError, match="has said nothing for 3 s"):
            bench.follow(
                bench.job("t1", measure=ENDLESS),
                wear=lambda remote: Forging(remote, forge=make_slow),
                on_event=freeze,
                silence_s=1.0,
            )
    finally:
        bench.signal_run(signal.SIGCONT)


@dataclass
class Misdated(BrittleRemote):
    """A board whose date is years off, in its journal and in its answers."""

    off_s: float = 0.0

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        done = super().run(argv, stdin=stdin, timeout=timeout)
        if "--clock" not in argv or done.code != 0:
            return done
        told = json.loads(done.stdout)
        told["clock"]["wall"] += self.off_s
        return done._replace(stdout=json.dumps(told).encode())

    def tell(self, line: bytes) -> Iterable[bytes]:
        told = json.loads(line)
        return [json.dumps({**told, "wall": told["wall"] + self.off_s}).encode()]


@pytest.mark.parametrize("years", [-20, 5])
def test_a_board_with_a_wrong_date_is_heard_at_the_right_time(finished: Bench, years: int) -> None:
    finished.follow(finished.job("t1"))
    right = [event.wall for event in finished.heard]
    finished.heard.clear()
    off_s = years * 365 * 86400.0
    finished.follow(finished.job("t1"), wear=lambda remote: Misdated(remote, off_s=off_s))
    assert [event.wall for event in finished.heard] == pytest.approx(right, abs=5)


def test_stopping_what_does_not_run_says_so(finished: Bench) -> None:
    assert finished.stop("r9") is False


def test_a_board_that_measures_for_somebody_else_is_busy(bench: Bench) -> None:
    refused: list[str] = []

    def try_another(event: Event) -> None:
        if isinstance(event, RunStarted):
            with pytest.raises(BoardBusy) as caught:
                bench.follow(bench.job("t1", run="r2"))
            refused.append(caught.value.message)
            assert bench.stop("r2") is False
            assert bench.stop("r1") is True

    ended = bench.follow(bench.job("t1", measure=ENDLESS), on_event=try_another)
    assert ended.reason == "stopped"
    assert "me@laptop since " in refused[0]


def test_tasks_that_an_earlier_job_measured_are_passed_over(bench: Bench) -> None:
    bench.follow(bench.job("t1"))
    bench.heard.clear()
    ended = bench.follow(bench.job("t2"), earlier_tasks=["t1"])
    assert ended.reason == "completed"
    assert {event.task for event in bench.heard_of(Result)} == {"t2"}
    assert {event.task for event in bench.heard_of(Round)} == {"t2"}


@dataclass
class Forging(BrittleRemote):
    """A board that tells what did not happen."""

    forge: Callable[[bytes], Iterable[bytes]] = lambda line: [line]

    def tell(self, line: bytes) -> Iterable[bytes]:
        return self.forge(line)


def change(**fields: Any) -> Callable[[bytes], list[bytes]]:
    return lambda line: [json.dumps({**json.loads(line), **fields}).encode()]


def change_rounds(**fields: Any) -> Callable[[bytes], list[bytes]]:
    return lambda line: change(**fields)(line) if b'"event": "round"' in line else [line]


def repeat_as_new(event: str) -> Callable[[bytes], list[bytes]]:
    """The event of that name twice, the second time with a number of its own."""

    def forge(line: bytes) -> list[bytes]:
        told = json.loads(line)
        is_it = told["event"] == event
        return [line, *([json.dumps({**told, "seq": told["seq"] + 1}).encode()] if is_it else [])]

    return forge


def hide_round(line: bytes) -> list[bytes]:
    """Round 1 is told as begun, and never as done."""
    told = json.loads(line)
    is_it = (told["event"], told.get("round")) == ("round", 1)
    return change(event="progress", phase="round")(line) if is_it else [line]


@pytest.mark.parametrize(
    ("forge", "fault"),
    [
        (change(run="r9"), "belongs to run 'r9'"),
        (change(run="../../x"), "line 1 of the journal"),
        (change(task="t9"), "nobody asked for task 't9'"),
        (change(task="../../../x"), "line 2 of the journal"),
        (change(seq=2), "follows number 0"),
        (change(seq="1"), "seq"),
        (change_rounds(round=3), "there are 3 rounds, it is 3"),
        (change_rounds(count=17_000), "samples"),
        (repeat_as_new("round"), "comes a second time"),
        (repeat_as_new("result"), "comes a second time"),
        (hide_round, "round 1 of 't1' is missing"),
        (lambda line: [b"\xff" * 3_000_000], "line 1 of the journal"),
        (lambda line: [b""], "line 1 of the journal"),
    ],
)
def test_what_cannot_be_is_refused_and_writes_nothing(
    finished: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    forge: Callable[[bytes], list[bytes]],
    fault: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeviceError) as caught:
        finished.follow(finished.job("t1"), wear=lambda remote: Forging(remote, forge=forge))
    assert fault in caught.value.message
    assert len(caught.value.message) < 1000
    assert not list(tmp_path.iterdir())


def test_a_line_that_comes_twice_is_heard_once(finished: Bench) -> None:
    ended = finished.follow(
        finished.job("t1"), wear=lambda remote: Forging(remote, forge=lambda line: [line, line])
    )
    assert ended.reason == "completed"
    finished.assert_whole("t1")


def test_an_error_of_the_listener_passes_untouched(finished: Bench) -> None:
    def refuse(event: Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        finished.follow(finished.job("t1"), on_event=refuse)


def test_over_ssh_a_run_is_followed_across_links_that_break(device: Device, tmp_path: Path) -> None:
    board = device.model_copy(update={"python": sys.executable})
    bench = Bench(board, tmp_path, lambda: open_ssh(board))
    job = bench.job("t1", "t2", run=f"ssh-{tmp_path.name[-40:]}")
    ended = bench.follow(job, wear=lambda remote: BrittleRemote(remote, lines_left=7))
    assert ended.reason == "completed"
    bench.assert_whole("t1", "t2")
