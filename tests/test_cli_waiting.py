"""What waits because the database was down: the commands that judge and export save it first, or say so."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from host.cli.main import run_bench
from host.ledger.baselines import find_baseline, save_baseline
from host.ledger.buffer import Buffer
from host.ledger.lines import pack_line
from host.ledger.records import RunRecord
from host.ledger.store import Ledger
from host.workspace import Workspace
from tests.made_ledger import make_workspace, open_ledger, save_run
from tests.made_results import START, make_rounds, make_run, make_sweep

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Buffer:
    """Two good runs, of which `main` is a baseline, and a slow one whose measurements all wait."""
    workspace = make_workspace(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_LEDGER", raising=False)
    found = Buffer.beside(workspace.results, workspace.ledger_url, pytest.fail)
    with open_ledger(tmp_path) as ledger:
        save_run(ledger, "r1", make_sweep())
        save_baseline(ledger, "main", "r1")
        save_run(ledger, "r2", make_sweep(), minute=5)
        tasks = tuple(one.task for one, _ in make_sweep())
        ledger.start_run(_with_device(make_run("r3", 10, tasks)))
    for one, p50_ms in make_sweep():
        rounds = make_rounds(2 * p50_ms, rounds=5, count=200)
        found.keep(pack_line(one.model_copy(update={"run": "r3"}), rounds))
    return found


def _with_device(run: RunRecord) -> RunRecord:
    return run.model_copy(update={"devices": {"pi4": None}})


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Somebody else writes all the time."""
    with closing(sqlite3.connect(root / "results" / "boardbench.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a lock."""
    opened = Ledger.open.__func__  # type: ignore[attr-defined]  # a class method

    def open_impatiently(url: str, *, patience_s: float = 0.05, buffer: Buffer | None = None) -> Ledger:
        found: Ledger = opened(Ledger, url, patience_s=patience_s, buffer=buffer)
        return found

    monkeypatch.setattr(Ledger, "open", open_impatiently)


def test_a_check_judges_what_waited(buffer: Buffer, capsys: Captured) -> None:
    assert run_bench(["check", "--baseline", "main", "--no-remeasure", "--format", "json"]) == 1
    told = capsys.readouterr()
    assert (json.loads(told.out)["run"], json.loads(told.out)["verdict"]) == ("r3", "broken")
    assert "saved 3 of what waited" in told.err
    assert buffer.count() == 0


def test_an_export_holds_what_waited(buffer: Buffer, tmp_path: Path) -> None:
    assert run_bench(["export", "r3", "-o", "runs.zip"]) == 0
    with zipfile.ZipFile(tmp_path / "runs.zip") as opened:
        assert len(opened.read("measurements.jsonl").splitlines()) == 3
    assert buffer.count() == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compare", "r1", "r3"), "slower"),
        (("recommend", "--run", "r3"), "int8"),
        (("report", "r3"), "report-r3.html"),
    ],
)
def test_what_waited_is_compared_recommended_and_reported(
    buffer: Buffer, words: tuple[str, ...], said: str, capsys: Captured
) -> None:
    assert run_bench(list(words)) == 0
    assert said in capsys.readouterr().out
    assert buffer.count() == 0


@pytest.mark.usefixtures("impatient")
def test_a_check_gives_no_verdict_where_what_waits_cannot_be_saved(
    buffer: Buffer, tmp_path: Path, capsys: Captured
) -> None:
    with locked(tmp_path):
        for words in (["check", "--baseline", "main", "--no-remeasure"], ["export", "-o", "x.zip"]):
            assert run_bench(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "locked" in told.err
    assert buffer.count() == 3


@pytest.mark.usefixtures("impatient")
def test_what_cannot_be_saved_does_not_hinder_reading_and_is_told(
    buffer: Buffer, tmp_path: Path, capsys: Captured
) -> None:
    with locked(tmp_path):
        for words in (["compare", "r1", "r2"], ["recommend"], ["report"]):
            assert run_bench(words) == 0
            assert f"3 more in {buffer.folder}" in capsys.readouterr().err
    assert buffer.count() == 3


def test_what_a_reader_may_not_write_goes_on_waiting(
    buffer: Buffer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    file = tmp_path / "results" / "boardbench.sqlite"
    read_only = f"sqlite:///file:{file}?mode=ro&uri=true"
    folder = Buffer.beside(Workspace(tmp_path).results, read_only, pytest.fail).folder
    buffer.folder.rename(folder)
    monkeypatch.setenv("BENCH_LEDGER", read_only)
    assert run_bench(["compare", "r1", "r2"]) == 0
    assert run_bench(["check", "--baseline", "main", "--run", "r2", "--no-remeasure"]) == 2
    assert "permissions" in capsys.readouterr().err
    assert [path.suffix for path in folder.iterdir()] == [".waiting"] * 3


def test_a_baseline_is_saved_of_the_run_that_waited(buffer: Buffer) -> None:
    assert run_bench(["baseline", "save", "slow"]) == 0
    with open_ledger(Path.cwd()) as ledger:
        assert find_baseline(ledger, "slow").id == "r3"
        assert ledger.find_run("r3").started_at > START
