"""What every fault must come to: nothing is lost or there twice, nobody hangs, people learn what to do."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from host.errors import BenchError
from host.fleet.agent_archive import build_agent
from host.fleet.following import stop_run
from host.fleet.registry import save_device
from host.fleet.ssh import open_ssh
from host.ledger.store import Ledger
from host.plan import Plan
from host.progress import Silent
from host.specs.device import Device
from host.specs.measure import Measure
from host.specs.measurement import Measurement
from host.specs.profile import RuntimeSettings
from host.sweep import Outcome, Place, resume, run_file
from host.workspace import Workspace
from tests.agent_board import make_model, pick, unpack

TINY = {"preset": "quick", "round_samples": 16, "warmup_s": 0, "warmup_cap_s": 0.2, "steady_window": 4}
QUIET = {"power_window_s": 0.1, "cooldown_cap_s": 0}
MEASURE = Measure.model_validate({**TINY, **QUIET, "rounds": 3, "round_s": 0.02})
LONG = Measure.model_validate({**TINY, **QUIET, "rounds": 12, "round_s": 0.1})
"""Long enough for something to happen while it is measured."""

SETTINGS = (RuntimeSettings(threads=1), RuntimeSettings(threads=1, arena=False))
PATIENCE_S = 400.0
"""Far more than any of these runs needs: whoever takes longer hangs."""

ADVICE = re.compile(
    r"`|bench |Check|Compare|Correct|Delete|Free|Give|Install|It may|Look|Name|Put|Restart|Start|Take|Wait"
)


@dataclass
class Told(Silent):
    """What a person would have read meanwhile."""

    said: list[str] = field(default_factory=list)

    def say(self, message: str) -> None:
        self.said.append(message)


@dataclass
class Trial:
    """A run that is under way, and then what it came to."""

    work: Callable[[], Outcome]
    progress: Told
    outcome: Outcome | None = None
    raised: Exception | None = None
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.outcome = self.work()
        except Exception as error:  # noqa: BLE001 - `join` raises what is no expected one
            self.raised = error

    def join(self) -> None:
        assert self._thread is not None
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), f"it hangs; it said: {self.progress.said}"
        if self.raised is not None and not isinstance(self.raised, BenchError):
            raise self.raised

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def errors(self) -> list[BenchError]:
        """Every error that a person reads at the end."""
        raised = [self.raised] if isinstance(self.raised, BenchError) else []
        return [*raised, *(self.outcome.errors.values() if self.outcome else ())]


@dataclass
class Lab:
    """A workspace with one small model, and a device to measure it on."""

    root: Path
    device: Device
    _trial: Trial | None = None

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    @property
    def model(self) -> Path:
        return self.root / "tiny.onnx"

    def register(self, device: Device) -> Device:
        """Register the device, in the place of what had its name."""
        self.device = device
        save_device(self.workspace, device)
        return device

    @contextmanager
    def place(self, progress: Told) -> Iterator[Place]:
        with Ledger.open(self.workspace.ledger_url) as ledger:
            yield Place(self.workspace, ledger, progress)

    def measure(self, measure: Measure = MEASURE) -> Trial:
        """A run from its beginning to its end."""
        with self.measuring(measure) as trial:
            pass
        return trial

    @contextmanager
    def measuring(self, measure: Measure = MEASURE) -> Iterator[Trial]:
        """A run under way; it has ended when the block has."""
        with self.going_on("", measure) as trial:
            yield trial

    def resume(self, run: str) -> Trial:
        with self.going_on(run) as trial:
            pass
        return trial

    @contextmanager
    def going_on(self, run: str, measure: Measure = MEASURE) -> Iterator[Trial]:
        """That run resumed, or a new one where there is none yet; it has ended when the block has."""
        progress = Told()

        def work() -> Outcome:
            with self.place(progress) as place:
                if run:
                    return resume(run, place)
                return run_file(self.model, {}, [self.device.name], SETTINGS, measure, place)

        trial = self._trial = Trial(work, progress)
        trial.start()
        try:
            yield trial
        finally:
            trial.join()

    def stop_after_rounds(self, count: int) -> None:
        """Leave a run behind that was stopped on the board once it had measured so many rounds."""
        with self.measuring(LONG):
            self.wait_for_rounds(count)
            agent = build_agent(self.workspace.cache)
            with open_ssh(self.device) as remote:
                assert stop_run(remote, self.device, agent, self.read_lock()["run"])

    def read_lock(self) -> dict[str, Any]:
        """Who holds the board."""
        told: dict[str, Any] = json.loads(self.call_board("cat", f"{self.device.work_folder}/lock"))
        return told

    def call_board(self, *words: str) -> bytes:
        """What a command on the board printed; one that fails may do so."""
        with open_ssh(self.device) as remote:
            return remote.run(words, timeout=PATIENCE_S).stdout

    def list_board(self, folder: str) -> list[str]:
        """The names in a folder of the work folder, nothing where it is not there."""
        program = (
            "import json, os, sys; path = os.path.join(os.path.expanduser(sys.argv[1]), sys.argv[2]); "
            "print(json.dumps(os.listdir(path) if os.path.isdir(path) else []))"
        )
        told = self.call_board(self.device.python, "-c", program, self.device.work_folder, folder)
        names: list[str] = json.loads(told)
        return names

    def newest_run(self) -> str:
        with Ledger.open(self.workspace.ledger_url) as ledger:
            return ledger.runs()[0].id

    def stored(self, run: str) -> tuple[list[str], list[Measurement], dict[str, list[Any]]]:
        """The tasks of a run, its measurements, and the samples of each task round by round."""
        with Ledger.open(self.workspace.ledger_url) as ledger:
            tasks = [task.id for task in Plan.model_validate(ledger.find_run(run).plan).tasks]
            found = ledger.measurements(run)
            return tasks, found, {one.task: ledger.samples(run, one.task) for one in found}

    def read_journals(self, run: str) -> dict[str, list[dict[str, Any]]]:
        """Every journal of a run on the board, by its folder's name."""
        program = (  # in one line, which csh reads too
            "import glob, json, os, sys; work = os.path.expanduser(sys.argv[1]); "
            "found = glob.glob(glob.escape(work) + '/runs/' + sys.argv[2] + '.*/journal.jsonl'); "
            "print(json.dumps({path.split('/')[-2]: open(path).read() for path in found}))"
        )
        with open_ssh(self.device) as remote:
            done = remote.run([self.device.python, "-c", program, self.device.work_folder, run])
        assert done.code == 0, done.stderr
        texts = json.loads(done.stdout)
        return {
            name: [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]
            for name, text in texts.items()
        }

    def wait_for_rounds(self, count: int) -> str:
        """The newest run, once its tasks have measured so many rounds between them."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and self._trial is not None and self._trial.is_running:
            for events in self.read_journals("*").values() if self.has_run() else ():
                if len(pick(events, "round")) >= count:
                    return self.newest_run()
            time.sleep(0.05)
        raise AssertionError("nothing is measured")

    def read_starts(self) -> list[dict[str, Any]]:
        """Every start of the newest run, as its journals tell them."""
        journals = self.read_journals(self.newest_run())
        return [one for events in journals.values() for one in pick(events, "run-started")]

    def has_run(self) -> bool:
        return self.workspace.results.is_dir()

    def assert_survived(self, trial: Trial, *, run: str | None = None, may_fail: bool = True) -> None:
        """Whatever has happened, every measurement is there once, at the latest when resumed."""
        assert_told(trial.errors)
        run = run or self.newest_run()
        if trial.errors or (trial.outcome is not None and trial.outcome.failed):
            assert may_fail, f"it should have survived by itself: {trial.errors}"
        if trial.outcome is None or trial.errors or trial.outcome.failed:
            again = self.resume(run)
            assert again.errors == [], f"{again.errors} {again.progress.said}"
        self.assert_exact(run)

    def assert_exact(self, run: str) -> None:
        """Every task is measured once, and what is stored is what one journal on the board holds, once."""
        tasks, found, samples = self.stored(run)
        assert sorted(one.task for one in found) == sorted(tasks)
        assert [(one.status, one.error) for one in found] == [("ok", None)] * len(tasks)
        journals = self.read_journals(run)
        for events in journals.values():
            assert_whole(events)
        self.assert_unpacked()
        for task in tasks:
            held = [gather_samples(events, task) for events in journals.values() if has_result(events, task)]
            assert any(is_equal(samples[task], rounds) for rounds in held), task

    def assert_unpacked(self) -> None:
        """Packages that were needed are there once and whole, and nothing half made beside them."""
        needed = [path.name.partition("-")[2] for path in self.workspace.cache.glob("layers/*.tar.gz")]
        unpacked = [sha256.removesuffix(".tar.gz") for sha256 in needed]
        assert self.list_board("layers") == unpacked
        assert set(unpacked).isdisjoint(self.list_board("blobs"))


def assert_told(errors: Sequence[BenchError]) -> None:
    """Each error names what failed, is short and printable, and says what to do next."""
    for error in errors:
        text = str(error)
        assert error.message
        assert error.hint, f"it does not say what to do: {text}"
        assert ADVICE.search(error.hint), f"it does not say what to do: {text}"
        assert len(text) < 6000
        assert text.replace("\n", " ").replace("\t", " ").isprintable()
        assert not re.search(r"Traceback|\bNone\b", text), text


def assert_whole(events: Sequence[Mapping[str, Any]]) -> None:
    """A journal without a gap, in which nothing is measured twice."""
    assert [one["seq"] for one in events] == list(range(1, len(events) + 1))
    rounds = [(one["task"], one["round"]) for one in pick(list(map(dict, events)), "round")]
    assert len(rounds) == len(set(rounds))
    results = [one["task"] for one in events if one["event"] == "result"]
    assert len(results) == len(set(results))


def has_result(events: Sequence[Mapping[str, Any]], task: str) -> bool:
    return any((one["event"], one.get("task"), one.get("status")) == ("result", task, "ok") for one in events)


def gather_samples(events: Sequence[Mapping[str, Any]], task: str) -> list[Any]:
    rounds: dict[int, Any] = defaultdict(list)
    for one in events:
        if one["event"] == "round" and one["task"] == task:
            rounds[one["round"]] = unpack(dict(one))
    return [rounds[number] for number in sorted(rounds)]


def is_equal(stored: Sequence[Any], rounds: Sequence[Any]) -> bool:
    return len(stored) == len(rounds) > 0 and all(map(np.array_equal, stored, rounds))


def make_lab(root: Path, device: Device) -> Lab:
    """A new workspace with the model, and the device registered."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "devices.yaml").write_text("devices: {}\n")
    lab = Lab(root, device)
    lab.model.write_bytes(make_model(4, batch=1))
    lab.register(device)
    return lab


def wait_for_file(path: Path, process: subprocess.Popen[str] | None = None) -> None:
    """Wait until a file is there; the process that is to bring it about must live."""
    until = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < until, f"nothing has come as far as {path.name}"
        if process is not None and process.poll() is not None:
            raise AssertionError(f"it ended before: {process.stderr.read() if process.stderr else None}")
        time.sleep(0.02)
