"""The ledger on a real SQLite file: exactly once, in order, and clear when something is wrong."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import numpy as np
import pytest

from host.errors import LedgerError, UsageError
from host.ledger import store
from host.ledger.statistics import STATISTICS_VERSION, LatencySummary, Samples, summarize_latency
from host.ledger.store import Ledger
from tests.made_results import START, make_failure, make_measurement, make_rounds, make_run, make_unfit


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "results" / "boardbench.sqlite"


def url_of(file: Path) -> str:
    return f"sqlite:///{file}"


def test_what_is_saved_is_read_again(ledger_url: str) -> None:
    measurement, rounds = make_measurement(), make_rounds()
    with Ledger.open(ledger_url) as ledger:
        ledger.start_run(make_run())
        assert ledger.save(measurement, rounds)
    with Ledger.open(ledger_url) as ledger:
        assert ledger.measurements("r1") == [measurement]
        held = ledger.samples("r1", "t1")
        assert [samples.tolist() for samples in held] == [samples.tolist() for samples in rounds]
        assert ledger.runs() == [make_run()]


def test_reading_an_absent_ledger_finds_nothing_and_creates_nothing(file: Path) -> None:
    with Ledger.open(url_of(file)) as ledger:
        assert ledger.runs() == []
        assert ledger.measurements() == []
        assert ledger.samples("r1", "t1") == []
        with pytest.raises(UsageError, match="holds no runs yet"):
            ledger.find_run()
    assert not file.parent.exists()


def test_saving_the_same_twice_keeps_one(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger:
        ledger.start_run(make_run())
        assert ledger.save(make_measurement(), make_rounds(rounds=3))
        assert not ledger.save(make_measurement(accuracy_device=0.1), make_rounds(rounds=5))
        assert ledger.measurements() == [make_measurement()]
        assert len(ledger.samples("r1", "t1")) == 3


def test_a_success_replaces_a_failure_and_never_the_other_way(ledger_url: str) -> None:
    failure = make_failure("t1", "killed")
    with Ledger.open(ledger_url) as ledger:
        ledger.start_run(make_run())
        assert ledger.save(failure, make_rounds(rounds=4))
        assert [held.status for held in ledger.measurements("r1")] == ["failed"]
        assert ledger.save(make_measurement(), make_rounds(rounds=2))
        assert not ledger.save(failure, [])
        assert [held.status for held in ledger.measurements("r1")] == ["ok"]
        assert len(ledger.samples("r1", "t1")) == 2


def test_threads_that_save_the_same_task_keep_one_of_each(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger:
        ledger.start_run(make_run())
        stored: list[bool] = []

        def save_all() -> None:
            stored.extend(ledger.save(make_measurement(f"t{n}"), make_rounds()) for n in range(10))

        threads = [threading.Thread(target=save_all) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ledger.measurements()) == 10
        assert stored.count(True) == 10
        assert len(stored) == 40


def test_processes_that_create_a_ledger_at_once_all_succeed(ledger_url: str) -> None:
    code = (
        "import sys; from host.ledger.store import Ledger; from tests.made_results import make_run\n"
        "with Ledger.open(sys.argv[1]) as ledger: ledger.start_run(make_run(sys.argv[2]))"
    )
    root = Path(__file__).parent.parent
    processes = [
        subprocess.Popen([sys.executable, "-c", code, ledger_url, f"run-{number}"], cwd=root)
        for number in range(4)
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0, 0]
    with Ledger.open(ledger_url) as ledger:
        assert {run.id for run in ledger.runs()} == {f"run-{number}" for number in range(4)}


def test_results_come_in_the_order_of_the_plan_newest_run_first(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger:
        ledger.start_run(make_run("old", 0, tasks=("a", "b", "c")))
        ledger.start_run(make_run("new", 5, tasks=("x", "y")))
        for run, task in (
            ("old", "c"),
            ("new", "y"),
            ("old", "a"),
            ("new", "unplanned"),
            ("new", "x"),
            ("old", "b"),
        ):
            ledger.save(make_measurement(task, run=run), [])
        found = [(entry.run, entry.task) for entry in ledger.measurements()]
        assert found[:3] == [("new", "x"), ("new", "y"), ("new", "unplanned")]
        assert found[3:] == [("old", "a"), ("old", "b"), ("old", "c")]
        assert [entry.task for entry in ledger.measurements("old")] == ["a", "b", "c"]


def test_runs_are_found_by_id_beginning_or_latest(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger:
        for minute, run_id in enumerate(("2026-ab", "2026-abcd", "2027-x")):
            ledger.start_run(make_run(run_id, minute))
        assert ledger.find_run().id == "2027-x"
        assert ledger.find_run("latest").id == "2027-x"
        assert ledger.find_run("2026-ab").id == "2026-ab"
        assert ledger.find_run("2026-abc").id == "2026-abcd"
        with pytest.raises(UsageError, match="2 runs begin with '2026'"):
            ledger.find_run("2026")
        with pytest.raises(UsageError, match="Did you mean 2027-x"):
            ledger.find_run("2027-y")


def test_a_finished_run_tells_how_and_when_and_can_be_resumed(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger:
        ledger.start_run(make_run())
        ledger.finish_run("r1", "interrupted", START)
        assert ledger.find_run().status == "interrupted"
        assert ledger.find_run().finished_at == START
        ledger.finish_run("r1", "running")
        assert ledger.find_run().finished_at is None
        with pytest.raises(LedgerError, match="holds no run 'r2'"):
            ledger.finish_run("r2", "completed")


def test_a_run_is_started_once(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger:
        ledger.start_run(make_run())
        with pytest.raises(LedgerError, match="already holds a run 'r1'"):
            ledger.start_run(make_run())


def test_a_measurement_of_an_unknown_run_is_refused(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger:
        ledger.start_run(make_run())
        with pytest.raises(LedgerError, match="holds no run 'other'"):
            ledger.save(make_measurement(run="other"), [])


def test_summaries_are_read_without_computing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(url_of(file)) as ledger:
        ledger.start_run(make_run())
        ledger.save(make_measurement(), make_rounds())
        monkeypatch.setattr(store, "summarize_latency", refuse_to_summarize)
        assert ledger.entries()[0].latency["n"] == 192


def refuse_to_summarize(rounds: list[Samples]) -> LatencySummary:
    raise AssertionError("the stored summary is current")


def test_summaries_of_an_older_release_are_computed_anew_and_kept(file: Path) -> None:
    with Ledger.open(url_of(file)) as ledger:
        ledger.start_run(make_run())
        ledger.save(make_measurement(), make_rounds())
    execute(file, "UPDATE measurements SET statistics = 0, summary = '{}'")
    with Ledger.open(url_of(file)) as ledger:
        assert ledger.entries()[0].latency == summarize_latency(make_rounds()).model_dump(mode="json")
    assert execute(file, "SELECT statistics FROM measurements") == [(STATISTICS_VERSION,)]


def test_a_ledger_that_cannot_be_written_is_still_read_in_full(file: Path) -> None:
    with Ledger.open(url_of(file)) as ledger:
        ledger.start_run(make_run())
        ledger.save(make_measurement(), make_rounds())
    execute(file, "UPDATE measurements SET statistics = 0, summary = '{}'")
    with Ledger.open(f"sqlite:///file:{file}?mode=ro&uri=true") as ledger:
        assert ledger.entries()[0].latency["n"] == 192
        with pytest.raises(LedgerError, match="permissions"):
            ledger.save(make_measurement("t2"), [])


def test_a_newer_ledger_is_refused_with_advice(file: Path) -> None:
    with Ledger.open(url_of(file)) as ledger:
        ledger.start_run(make_run())
    execute(file, "UPDATE ledger SET value = 99")
    with Ledger.open(url_of(file)) as ledger:
        with pytest.raises(LedgerError, match=r"newer boardbench \(schema 99[\s\S]*Upgrade"):
            ledger.runs()
        with pytest.raises(LedgerError, match="newer boardbench"):
            ledger.save(make_measurement(), [])


def test_a_file_that_is_no_database_is_refused_and_left_alone(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"these are somebody's notes, not a database\n" * 100)
    before = file.read_bytes()
    with Ledger.open(url_of(file)) as ledger:
        with pytest.raises(LedgerError, match="damaged, or no ledger"):
            ledger.runs()
        with pytest.raises(LedgerError, match="damaged, or no ledger"):
            ledger.start_run(make_run())
    assert file.read_bytes() == before


def test_damaged_samples_are_told_by_their_task(file: Path) -> None:
    with Ledger.open(url_of(file)) as ledger:
        ledger.start_run(make_run())
        ledger.save(make_measurement(), make_rounds())
        execute(file, "UPDATE samples SET data = x'00' WHERE round = 1")
        with pytest.raises(LedgerError, match="samples of task t1 are damaged"):
            ledger.samples("r1", "t1")
        execute(file, "UPDATE samples SET count = 7 WHERE round = 0")
        with pytest.raises(LedgerError, match="samples of task t1 are damaged"):
            ledger.samples("r1", "t1")


def test_a_locked_ledger_says_that_another_process_writes(file: Path) -> None:
    with Ledger.open(url_of(file), patience_s=0.1) as ledger:
        ledger.start_run(make_run())
        other = sqlite3.connect(file)
        other.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(LedgerError, match="Another process is writing"):
                ledger.save(make_measurement(), make_rounds())
            assert ledger.runs() == [make_run()]
        finally:
            other.close()
        assert ledger.save(make_measurement(), make_rounds())


def test_an_unfit_task_makes_way_for_a_measurement_and_never_takes_its_place(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger:
        ledger.start_run(make_run())
        assert ledger.save(make_unfit("t1"), [])
        assert ledger.save(make_measurement("t1"), make_rounds())
        assert not ledger.save(make_unfit("t1"), [])
        assert [found.status for found in ledger.measurements("r1")] == ["ok"]


def test_only_a_run_without_measurements_is_forgotten(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger:
        ledger.start_run(make_run("r1"))
        ledger.start_run(make_run("r2"))
        ledger.save(make_measurement(run="r1"), make_rounds())
        ledger.forget_run("r1")
        ledger.forget_run("r2")
        assert [run.id for run in ledger.runs()] == ["r1"]
        assert len(ledger.samples("r1", "t1")) == 3


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file stands where the folder should")
    with (
        Ledger.open(url_of(tmp_path / "results" / "deeper" / "b.sqlite")) as ledger,
        pytest.raises(LedgerError, match="its folder cannot be made"),
    ):
        ledger.start_run(make_run())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("results.sqlite", "is no database URL"),
        ("postgresql://host:port/bench", "is no database URL"),
        ("sqlite://host/results.sqlite", "cannot be used: Invalid SQLite URL"),
        ("sqlite:///results.sqlite?timeout=long", "cannot be used: could not convert"),
        ("sqlite://", "in memory only"),
        ("nosuch://host/bench", "no driver for 'nosuch'"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, said: str) -> None:
    with pytest.raises(LedgerError, match=said):
        Ledger.open(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:hu@nter:2@host:54x/bench",
        "postgresql://me:hunter2/@host:x/bench",
        "postgresql://host:hunter2/bench",
        "me:hunter2@host/bench",
        "postgresql:/me:hunter2@host",
        "sqlite://me:hunter2@host/results.sqlite",
        "nosuch://me:hunter2@host/bench",
        "postgresql://host:x/bench?user=me&password=hunter2",
        "sqlite:///results.sqlite?timeout=long&password=hunter2",
    ],
)
def test_no_message_and_no_traceback_holds_a_password(url: str) -> None:
    with pytest.raises(LedgerError) as caught:
        Ledger.open(url)
    told = "".join(traceback.format_exception(caught.value, chain=True))
    for line in told.splitlines():
        if not line.startswith("    "):  # what is in the source, not what it says
            assert "hunter2" not in line
            assert "nter:2" not in line


def test_samples_keep_every_nanosecond(ledger_url: str) -> None:
    extremes = np.array([0, 1, 2**40 + 1, 2**62], dtype=np.int64)
    with Ledger.open(ledger_url) as ledger:
        ledger.start_run(make_run())
        ledger.save(make_measurement(), [extremes, extremes[:0]])
        held = ledger.samples("r1", "t1")
        assert held[0].tolist() == extremes.tolist()
        assert held[1].tolist() == []


def execute(file: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(file)
    try:
        with connection:
            return connection.execute(statement).fetchall()
    finally:
        connection.close()


def test_results_are_those_of_the_newest_run_that_has_any(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger:
        ledger.start_run(make_run("r1", minute=0))
        assert ledger.find_measured_run().id == "r1"
        ledger.save(make_measurement(run="r1"), make_rounds())
        ledger.start_run(make_run("r2", minute=1))
        assert ledger.find_run().id == "r2"
        assert ledger.find_measured_run().id == "r1"
