"""A database that is down half-way: what it cannot take waits on the disk, and is saved once, later."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from host.errors import LedgerError
from host.ledger import buffer as buffers
from host.ledger.buffer import Buffer
from host.ledger.store import Ledger
from tests.made_results import START, make_failure, make_measurement, make_rounds, make_run
from tests.private_postgres import Postgres


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def buffer(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Buffer:
    monkeypatch.setattr(buffers, "SHORT_PAUSE_S", 0.0)
    monkeypatch.setattr(buffers, "LONG_PAUSE_S", 0.0)
    return Buffer(tmp_path / "unsaved", said.append)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "boardbench.sqlite"


def open_file(file: Path, buffer: Buffer | None) -> Ledger:
    return Ledger.open(f"sqlite:///{file}", patience_s=0.05, buffer=buffer)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Somebody else writes all the time."""
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def tasks_of(ledger: Ledger) -> list[str]:
    return sorted(found.task for found in ledger.measurements("r1"))


def test_a_server_that_goes_down_half_way_loses_and_doubles_nothing(
    postgres: Postgres, buffer: Buffer, said: list[str]
) -> None:
    with Ledger.open(postgres.url(), patience_s=2, buffer=buffer) as ledger:
        ledger.start_run(make_run(tasks=("t1", "t2", "t3", "t4")))
        assert ledger.save(make_measurement("t1"), make_rounds())
        postgres.stop()
        try:
            assert ledger.save(make_measurement("t2"), make_rounds())
            assert ledger.save(make_measurement("t3"), make_rounds(p50_ms=7))
            ledger.finish_run("r1", "completed", START)
        finally:
            postgres.start()
        assert buffer.count() == 3
        assert len(said) == 1
        assert "wait in" in said[0]
        assert ledger.save(make_measurement("t4"), make_rounds())
        assert tasks_of(ledger) == ["t1", "t2", "t3", "t4"]
        assert [held.tolist() for held in ledger.samples("r1", "t3")] == [
            held.tolist() for held in make_rounds(p50_ms=7)
        ]
        assert ledger.find_run().status == "completed"
        assert buffer.count() == 0
        assert said[1:] == [f"saved 3 of what waited in {buffer.folder}"]


def test_a_locked_file_is_waited_for_elsewhere_and_the_next_command_saves(
    file: Path, buffer: Buffer, said: list[str]
) -> None:
    with open_file(file, buffer) as ledger:
        ledger.start_run(make_run())
        with locked(file):
            assert ledger.save(make_measurement("t1"), make_rounds())
            assert ledger.save(make_failure("t2", "killed"), [])
        assert ledger.measurements() == []
    with open_file(file, Buffer(buffer.folder, said.append)) as ledger:
        ledger.catch_up()
        ledger.catch_up()
        assert [(found.task, found.status) for found in ledger.measurements()] == [
            ("t1", "ok"),
            ("t2", "failed"),
        ]
        assert ledger.measurements()[0] == make_measurement("t1")
    assert [told.split()[0] for told in said][1:] == ["saved"]


def test_a_database_that_failed_is_left_alone_for_a_while(
    file: Path, buffer: Buffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffers, "SHORT_PAUSE_S", 3600.0)
    monkeypatch.setattr(buffers, "LONG_PAUSE_S", 3600.0)
    with open_file(file, buffer) as ledger:
        ledger.start_run(make_run())
        with locked(file):
            ledger.save(make_measurement("t1"), make_rounds())
        ledger.save(make_measurement("t2"), make_rounds())
        assert buffer.count() == 2
        ledger.finish_run("r1", "completed", START)  # the end of a run is worth another try
        assert buffer.count() == 0
        assert tasks_of(ledger) == ["t1", "t2"]


def test_what_was_saved_although_it_seemed_not_is_not_doubled(file: Path, buffer: Buffer) -> None:
    with open_file(file, buffer) as ledger:
        ledger.start_run(make_run())
        with locked(file):
            ledger.save(make_measurement("t1"), make_rounds())
        with open_file(file, None) as other:  # as if the server had saved it before the answer was lost
            other.save(make_measurement("t1"), make_rounds())
        ledger.catch_up()
        assert tasks_of(ledger) == ["t1"]
        assert len(ledger.samples("r1", "t1")) == 3
        assert buffer.count() == 0


def test_what_the_disk_has_damaged_is_set_aside_and_the_rest_is_saved(
    file: Path, buffer: Buffer, said: list[str]
) -> None:
    with open_file(file, buffer) as ledger:
        ledger.start_run(make_run())
        with locked(file):
            for task in ("t1", "t2", "t3"):
                ledger.save(make_measurement(task), make_rounds())
        first, second, _ = sorted(buffer.folder.iterdir())
        first.write_bytes(first.read_bytes()[:-10])
        second.write_bytes(second.read_bytes().replace(b'"pi4"', b'"pi5"'))
        ledger.catch_up()
        assert tasks_of(ledger) == ["t3"]
    assert sorted(path.suffix for path in buffer.folder.iterdir()) == [".damaged", ".damaged"]
    assert sum("its checksum does not fit" in told for told in said) == 2


def test_what_the_database_will_never_take_is_set_aside(file: Path, buffer: Buffer, said: list[str]) -> None:
    with open_file(file, buffer) as ledger:
        ledger.start_run(make_run())
        with locked(file):
            ledger.save(make_measurement(run="gone"), make_rounds())
        ledger.catch_up()
        assert ledger.measurements() == []
    assert [path.suffix for path in buffer.folder.iterdir()] == [".refused"]
    assert "holds no run 'gone'" in said[-1]


def test_where_the_buffer_cannot_be_written_either_the_error_says_so(file: Path, tmp_path: Path) -> None:
    (tmp_path / "unsaved").write_text("a file stands where the folder should")
    with open_file(file, Buffer(tmp_path / "unsaved", pytest.fail)) as ledger:
        ledger.start_run(make_run())
        with locked(file), pytest.raises(LedgerError, match="the database cannot save, and"):
            ledger.save(make_measurement(), make_rounds())


def test_a_failure_that_lasts_is_raised_and_nothing_waits(file: Path, buffer: Buffer) -> None:
    with open_file(file, buffer) as ledger:
        ledger.start_run(make_run())
        with closing(sqlite3.connect(file)) as other:
            other.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON measurements"
                " BEGIN SELECT RAISE(ABORT, 'planted'); END"
            )
        with pytest.raises(LedgerError, match="planted"):
            ledger.save(make_measurement(), make_rounds())
    assert buffer.count() == 0


def test_each_ledger_has_a_buffer_of_its_own(tmp_path: Path) -> None:
    urls = [
        f"sqlite:///{tmp_path}/a.sqlite",
        f"sqlite:///{tmp_path}/b.sqlite",
        "postgresql+psycopg://me@host/bench",
        "postgresql+psycopg://me@other/bench",
    ]
    folders = {Buffer.beside(tmp_path, url, print).folder for url in urls}
    assert len(folders) == 4
    renamed = Buffer.beside(tmp_path, "postgresql+psycopg://you:secret@host/bench", print).folder
    assert renamed in folders
