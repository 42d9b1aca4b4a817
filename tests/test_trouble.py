"""What goes wrong around a sweep, as a user meets it: the exit code, the words, and what is kept."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from host.fleet.registry import find_device, save_device
from host.fleet.ssh import open_ssh
from host.specs.device import Device
from host.workspace import Workspace
from tests.agent_board import Board, make_hungry_model, make_model, pick
from tests.bench_command import Ended, bench, run_bench, share_cache, start_bench, wait_for_words
from tests.main_job import Row, Swept
from tests.memory_cgroup import open_cgroup
from tests.old_python import make_old_python
from tests.small_disks import mounting
from tests.tiny_workspace import PROFILE, make_tiny_workspace

pytestmark = pytest.mark.slow

BOARD = "x86-emulated"
LONG = PROFILE.replace("name: tiny", "name: long").replace(
    "round_s: 0.2, warmup_s: 0.2", "rounds: 8, round_s: 0.4, warmup_s: 0.1, warmup_cap_s: 1"
)
WIDE = LONG.replace("name: long", "name: wide") + "runtimes: [{threads: [1, 2]}]\n"
VARIANTS = ("dense", "channel-l2-50", "channel-l2-50+int8")
DISKS = {"none": "64k", "some": "4m", "enough": "400m", "noexec": "400m,noexec"}


@dataclass(frozen=True)
class Trouble:
    """A workspace with everything built, its emulated board, and that board's disks by their names."""

    root: Path
    disks: dict[str, Path] | None

    @property
    def board(self) -> Board:
        return Board(self.root / ".boardbench/emulators" / BOARD / "home/.boardbench", Path())

    def register(self, name: str, **changes: Any) -> Device:
        """Register the emulated board under another name, as it would be if something were different."""
        plain = find_device(Workspace(self.root), BOARD)
        device = plain.model_copy(update={"name": name, "emulation": None, **changes})
        save_device(Workspace(self.root), device)
        return device

    def disk(self, name: str) -> str:
        if self.disks is None:
            pytest.skip("a small disk cannot be mounted here: neither root nor user namespaces")
        return str(self.disks[name])

    def results(self, run: str) -> list[Row]:
        rows: list[Row] = json.loads(bench(self.root, "results", "--run", run, "--format", "json"))
        return rows

    def wait_for_rounds(self, run: str, count: int) -> str:
        """The name of a run's folder on the board, once every task of its job has so many rounds."""
        for _ in range(600):
            for journal in self.board.work.glob(f"runs/{run}.*/journal.jsonl"):
                name = journal.parent.name
                whole, _, _ = journal.read_bytes().rpartition(b"\n")  # the last line is being written
                events = [json.loads(line) for line in whole.splitlines()]
                if all(len(pick(events, "round", task)) >= count for task in self.tasks(name)):
                    return name
            time.sleep(0.05)
        raise AssertionError(f"run {run} does not measure")

    def tasks(self, name: str) -> list[str]:
        job = json.loads((self.board.work / "runs" / name / "job.json").read_bytes())
        return [task["task"] for task in job["tasks"]]


@pytest.fixture(scope="module")
def trouble(swept: Swept, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trouble]:
    root = make_tiny_workspace(tmp_path_factory.mktemp("trouble"))
    (root / "profiles" / "long.yaml").write_text(LONG)
    (root / "profiles" / "wide.yaml").write_text(WIDE)
    share_cache(swept.root, root, "agents", "builds", "layers")
    disks = {name: root / "disks" / name for name in DISKS}
    within = mounting({disks[name]: size for name, size in DISKS.items()})
    started = run_bench(root, "devices", "emulate", BOARD, "up", within=within or ())
    assert started.code == 0, started.err
    yield Trouble(root, disks if within else None)
    bench(root, "devices", "emulate", BOARD, "down")


def test_a_device_that_is_down_is_named_and_the_others_are_measured(trouble: Trouble) -> None:
    trouble.register("down", port=9)
    ended = run_bench(
        trouble.root, "sweep", "--profile", "tiny", "--device", "down", "--device", BOARD, "--format", "json"
    )
    assert ended.code == 3
    assert "127.0.0.1:9 refuses connections" in ended.err
    rows = json.loads(ended.out)
    assert [(row["device"], row["status"]) for row in rows] == [(BOARD, "ok")] * 3

    trouble.register("down", work_folder="~/.elsewhere")
    resume = ended.err.rsplit("bench ", 1)[1].split()
    again = json.loads(bench(trouble.root, *resume, "--format", "json"))
    assert [row for row in again if row["device"] == BOARD] == rows
    assert [row["status"] for row in again if row["device"] == "down"] == ["ok"] * 3


def deploy_to(trouble: Trouble, device: Device) -> Ended:
    ended = run_bench(trouble.root, "deploy", "--device", device.name)
    assert ended.code == 3, ended
    assert f"{device.name}: " in ended.err
    assert not re.search(r"Traceback|\bNone\b", ended.err)
    return ended


def test_a_device_that_refuses_the_key_names_what_was_tried(trouble: Trouble, tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(tmp_path / "other_key")
    ended = deploy_to(trouble, trouble.register("refusing", key_file=str(tmp_path / "other_key")))
    assert str(tmp_path / "other_key") in ended.err
    assert "ssh-copy-id" in ended.err


def test_a_device_with_another_host_key_is_not_spoken_to(trouble: Trouble) -> None:
    pinned = "SHA256:" + "A" * 43
    ended = deploy_to(trouble, trouble.register("changed", fingerprint=pinned))
    assert pinned in ended.err
    assert find_device(Workspace(trouble.root), BOARD).fingerprint in ended.err
    assert "bench devices remove changed" in ended.err


def test_a_device_without_python_says_what_to_install(trouble: Trouble) -> None:
    ended = deploy_to(trouble, trouble.register("bare", python="/nonexistent/python3"))
    assert "there is no /nonexistent/python3 on the board" in ended.err
    assert "apt install python3" in ended.err


def test_a_device_with_an_old_python_says_so(trouble: Trouble, tmp_path: Path) -> None:
    ended = deploy_to(trouble, trouble.register("old", python=make_old_python(tmp_path)))
    assert "is too old" in ended.err
    assert "`python:` in devices.yaml" in ended.err


@pytest.mark.parametrize("disk", ["none", "some"])
def test_a_full_disk_says_which_and_what_to_do(trouble: Trouble, disk: str) -> None:
    folder = trouble.disk(disk)
    ended = deploy_to(trouble, trouble.register("full", work_folder=folder))
    assert folder in ended.err
    assert "full" in ended.err
    assert "`work_folder:` on another disk" in ended.err


def test_a_disk_that_is_mounted_noexec_gets_no_packages(trouble: Trouble) -> None:
    folder = trouble.disk("noexec")
    device = trouble.register("noexec", work_folder=folder)
    ended = deploy_to(trouble, device)
    assert f"{folder} is mounted noexec" in ended.err
    assert "`work_folder:` on another disk" in ended.err
    with open_ssh(device) as remote:
        assert remote.run(["ls", folder]).stdout.split() == [b"agents"]  # nothing else was sent


def test_a_disk_that_fills_up_while_measuring_loses_nothing(trouble: Trouble) -> None:
    folder = trouble.disk("enough")
    device = trouble.register("filling", work_folder=folder)
    with start_bench(trouble.root, "sweep", "--profile", "long", "--device", device.name) as process:
        run = read_run(wait_for_words(process, "run 2"))
        with open_ssh(device) as remote:
            wait = 'until grep -qs \'"event": *"round"\' "$0"/runs/*/journal.jsonl; do sleep 0.1; done'
            remote.run(["sh", "-c", wait, folder], timeout=60)
            remote.run(["sh", "-c", 'cat /dev/zero > "$0/filler"', folder], timeout=60)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 3, said
    assert "full" in said
    assert "`work_folder:` on another disk" in said

    with open_ssh(device) as remote:
        remote.run(["rm", f"{folder}/filler"])
    rows = json.loads(bench(trouble.root, "sweep", "--resume", run, "--format", "json"))
    assert [(row["status"], row["latency_ms"]["rounds"]) for row in rows] == [("ok", 8)] * 3


def read_run(said: str) -> str:
    """The id of the run that a sweep has begun."""
    found = re.search(r"^run (\S+)$", said, re.MULTILINE)
    assert found, said
    return found[1]


def test_a_model_of_a_newer_opset_is_refused_before_it_is_sent(trouble: Trouble) -> None:
    model = trouble.root / "new.onnx"
    model.write_bytes(make_model(opset=99, batch=1))
    before = {path.name for path in (trouble.board.work / "blobs").glob("*")}
    told = bench(trouble.root, "run", str(model), "--device", BOARD, code=2)
    assert "needs opset 99" in told
    assert re.search(r"onnxruntime \S+ reads up to (\d+): export it with opset \1", told)
    assert {path.name for path in (trouble.board.work / "blobs").glob("*")} == before


def test_a_model_that_wants_more_memory_than_there_is_fails_with_4_and_is_saved(trouble: Trouble) -> None:
    model = trouble.root / "hungry.onnx"
    model.write_bytes(make_hungry_model(50 * 10**12))  # 200 TB: more than a process can address
    words = ("run", str(model), "--shape", "x=1,3,8,8", "--device", BOARD, "--measure", "quick")
    ended = run_bench(trouble.root, *words, "--format", "json")
    assert ended.code == 4
    assert "1 of 1 measurements failed" in ended.err
    (row,) = json.loads(ended.out)
    assert (row["status"], row["error"]["kind"]) == ("failed", "memory")
    assert trouble.results(row["run"]) == [row]


@dataclass(frozen=True)
class Battered:
    """A sweep of six tasks whose first three workers came to grief; while it went on, another was tried."""

    run: str
    ended: Ended
    other: Ended
    is_starved: bool


@pytest.fixture(scope="module")
def battered(trouble: Trouble) -> Battered:
    """One worker crashes, one hangs, one is killed for memory (by SIGKILL where no cgroup can be made)."""
    with (
        start_bench(trouble.root, "sweep", "--profile", "wide") as process,
        open_cgroup(f"boardbench-test-{os.getpid()}") as starve,
    ):
        run = read_run(wait_for_words(process, "run 2"))
        name = trouble.wait_for_rounds(run, 1)
        crashing, hanging, starving, *_ = [trouble.board.find_worker(name, t) for t in trouble.tasks(name)]
        os.kill(crashing, signal.SIGSEGV)
        os.kill(hanging, signal.SIGSTOP)
        if starve is None:
            os.kill(starving, signal.SIGKILL)
        else:
            starve(starving)
        other = run_bench(trouble.root, "sweep", "--profile", "tiny", "--format", "json")
        assert process.stderr is not None
        said = process.stderr.read()
    return Battered(run, Ended(process.returncode, "", said), other, is_starved=starve is not None)


def rows_by_task(rows: list[Row]) -> dict[tuple[str, int], Row]:
    return {(row["variant"], row["threads"]): row for row in rows}


def test_workers_that_die_fail_alone_with_4(trouble: Trouble, battered: Battered) -> None:
    assert battered.ended.code == 4, battered.ended.err
    assert "3 of 6 measurements failed; the rest is saved" in battered.ended.err
    rows = rows_by_task(trouble.results(battered.run))
    errors = {task: row["error"] for task, row in rows.items() if row["status"] == "failed"}
    assert {task: error["kind"] for task, error in errors.items()} == {
        ("dense", 1): "crash",
        ("dense", 2): "hang",
        ("channel-l2-50", 1): "memory" if battered.is_starved else "crash",
    }
    assert "SIGSEGV" in errors["dense", 1]["message"]
    assert "no sign of life" in errors["dense", 2]["message"]
    last = errors["channel-l2-50", 1]["message"]
    assert ("ran out of memory" if battered.is_starved else "SIGKILL") in last
    others = [row for row in rows.values() if row["status"] == "ok"]
    assert [row["latency_ms"]["rounds"] for row in others] == [8] * 3


def test_a_second_sweep_on_a_board_is_told_who_holds_it_and_since_when(battered: Battered) -> None:
    assert battered.other.code == 3
    assert re.search(
        r"x86-emulated: another run measures: \S+@\S+ since 20\d\d-\d\d-\d\d", battered.other.err
    )
    assert "Wait for its end" in battered.other.err
    assert json.loads(battered.other.out) == []


def test_resuming_measures_just_what_failed(trouble: Trouble, battered: Battered) -> None:
    before = trouble.results(battered.run)
    after = json.loads(bench(trouble.root, "sweep", "--resume", battered.run, "--format", "json"))
    assert [row["status"] for row in after] == ["ok"] * 6
    kept = {key: row["started_at"] for key, row in rows_by_task(before).items() if row["status"] == "ok"}
    assert {key: rows_by_task(after)[key]["started_at"] for key in kept} == kept
    told = bench(trouble.root, "sweep", "--resume", battered.run, code=2)
    assert "complete" in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_sweep_that_is_ended_while_measuring_goes_on_where_it_was(
    trouble: Trouble, number: signal.Signals
) -> None:
    with start_bench(trouble.root, "sweep", "--profile", "long") as process:
        run = read_run(wait_for_words(process, "run 2"))
        name = trouble.wait_for_rounds(run, 2)
        os.killpg(process.pid, number)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == (130 if number == signal.SIGINT else -number), said
    before = trouble.board.read_journal_lines(name)
    rows = json.loads(bench(trouble.root, "sweep", "--resume", run, "--format", "json"))
    assert [(row["run"], row["status"]) for row in rows] == [(run, "ok")] * 3
    assert trouble.board.read_journal_lines(name)[: len(before)] == before
    rounds = pick(trouble.board.read_journal(name), "round")
    tasks = trouble.tasks(name)
    assert sorted((one["task"], one["round"]) for one in rounds) == sorted(
        (task, index) for task in tasks for index in range(8)
    )
    counts = [sum(one["count"] for one in pick(rounds, "round", task)) for task in tasks]
    assert [row["latency_ms"]["n"] for row in rows] == counts


def test_a_ledger_that_cannot_save_stops_the_boards_and_loses_nothing(trouble: Trouble) -> None:
    with start_bench(trouble.root, "sweep", "--profile", "long") as process:
        run = read_run(wait_for_words(process, "run 2"))
        name = trouble.wait_for_rounds(run, 1)
        with closing(sqlite3.connect(trouble.root / "results" / "boardbench.sqlite")) as ledger:
            ledger.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON measurements"
                " BEGIN SELECT RAISE(ABORT, 'planted'); END"
            )
            assert process.stderr is not None
            said = process.stderr.read()
            ledger.execute("DROP TRIGGER refuse")
    assert process.returncode == 2, said
    assert "boardbench.sqlite" in said
    rows = json.loads(bench(trouble.root, "sweep", "--resume", run, "--format", "json"))
    assert [row["status"] for row in rows] == ["ok"] * 3
    rounds = [(one["task"], one["round"]) for one in pick(trouble.board.read_journal(name), "round")]
    assert len(rounds) == len(set(rounds)) == 3 * 8
