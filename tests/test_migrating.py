"""Ledgers of older releases: read as they are, and brought up to date by the first write, or not at all."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from host.errors import LedgerError
from host.ledger import migrating, schema
from host.ledger.baselines import find_baseline, list_baselines, save_baseline
from host.ledger.database import writing
from host.ledger.selecting import Selection
from host.ledger.store import Ledger
from tests.made_results import make_measurement, make_rounds, make_run, make_unfit

RECORDINGS = Path(__file__).parent / "recordings" / "ledgers"
OLD = (1, 2, 3)
TASKS = {1: ["ok", "failed"], 2: ["ok", "failed", "unfit"], 3: ["ok", "failed", "unfit"]}


def make_old(folder: Path, version: int) -> Path:
    """A ledger as a release with that schema wrote it."""
    file = folder / "old.sqlite"
    connection = sqlite3.connect(file)
    connection.executescript((RECORDINGS / f"schema_{version}.sql").read_text())
    connection.close()
    return file


def fingerprint(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def version_of(url: str) -> int:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT value FROM ledger WHERE name = 'schema'")).scalar_one()
    engine.dispose()
    return int(found)


@pytest.mark.parametrize("version", OLD)
def test_an_old_ledger_is_read_without_writing_to_it(tmp_path: Path, version: int) -> None:
    file = make_old(tmp_path, version)
    before = fingerprint(file)
    for url in (f"sqlite:///{file}", f"sqlite:///file:{file}?mode=ro&uri=true"):
        with Ledger.open(url) as ledger:
            check_old(ledger, version)
            assert list_baselines(ledger) == []
    assert fingerprint(file) == before
    assert [path.name for path in tmp_path.iterdir()] == ["old.sqlite"]


def test_a_ledger_on_a_disk_that_cannot_be_written_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_old(tmp_path, 3)
    sqlite3.connect(file).execute("PRAGMA journal_mode=WAL").connection.close()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with Ledger.open(f"sqlite:///{file}") as ledger:
        check_old(ledger, 3)
        with pytest.raises(LedgerError, match="permissions"):
            ledger.start_run(make_run("new"))
    assert [path.name for path in tmp_path.iterdir()] == ["old.sqlite"]


@pytest.mark.parametrize("version", OLD)
def test_the_first_write_brings_an_old_ledger_up_to_date(tmp_path: Path, version: int) -> None:
    url = f"sqlite:///{make_old(tmp_path, version)}"
    with Ledger.open(url) as ledger:
        read = ledger.entries()
        ledger.start_run(make_run("new", 99))
        assert version_of(url) == schema.SCHEMA
        check_old(ledger, version)
        assert ledger.entries("old") == read
        save_baseline(ledger, "before", "old")
    with Ledger.open(url) as ledger:
        assert find_baseline(ledger, "before").id == "old"


def check_old(ledger: Ledger, version: int) -> None:
    """What the recordings hold, as any release must tell it."""
    run = ledger.find_run("old")
    assert list(run.task_order) == ["t1", "t2", "t3"]
    entries = ledger.entries("old")
    assert [entry.measurement["task"] for entry in entries] == ["t1", "t2", "t3"][: len(TASKS[version])]
    assert [found.status for found in ledger.measurements("old")] == TASKS[version]
    assert entries[0].latency["n"] == 192
    assert [samples.tolist() for samples in ledger.samples("old", "t1")] == [
        samples.tolist() for samples in make_rounds()
    ]
    told = list(ledger.figures("old", Selection(statuses=("ok",))))
    assert [(figures.task, figures.p50_ms) for figures in told] == [("t1", entries[0].latency["p50"])]
    assert told[0].scenario == "single-stream"
    line = next(line for line in ledger.list_runs() if line.id == "old")
    assert (line.tasks, line.measured, line.failed) == (3, 1, 1)


def migrate_from_nothing(url: str, to: str) -> None:
    """The tables that the steps up to one of them make."""
    engine = create_engine(url)
    with writing(engine) as connection:
        schema.versions.create(connection)
        migrating.run_steps(connection, to)
    engine.dispose()


def copy_rows(file: Path, url: str) -> None:
    """The rows of a recorded ledger in another database with the same tables."""
    old = sqlite3.connect(file)
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in ("ledger", "runs", "measurements", "samples"):
            found = old.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in found.description]
            rows = [dict(zip(names, row, strict=True)) for row in found]
            values = ", ".join(f":{name}" for name in names)
            connection.execute(text(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})"), rows)
    old.close()
    engine.dispose()


def test_an_old_ledger_in_another_database_is_read_and_brought_up_to_date(
    tmp_path: Path, ledger_url: str
) -> None:
    (tmp_path / "results").mkdir()
    migrate_from_nothing(ledger_url, "schema_3")
    copy_rows(make_old(tmp_path, 3), ledger_url)
    with Ledger.open(ledger_url) as ledger:
        check_old(ledger, 3)
        assert version_of(ledger_url) == 3
        assert ledger.save(make_measurement("t9", run="old"), make_rounds())
        assert version_of(ledger_url) == schema.SCHEMA
        assert [entry.measurement["task"] for entry in ledger.entries("old")] == ["t1", "t2", "t3", "t9"]


def describe_tables(url: str) -> dict[str, Any]:
    """Tables as the database itself tells them."""
    engine = create_engine(url)
    found = inspect(engine)
    told = {
        table: {
            "columns": [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(table)],
            "key": found.get_pk_constraint(table)["constrained_columns"],
            "foreign": sorted(
                (tuple(f["constrained_columns"]), f["referred_table"], str(f["options"]))
                for f in found.get_foreign_keys(table)
            ),
            "indexes": sorted((str(i["name"]), tuple(i["column_names"])) for i in found.get_indexes(table)),
        }
        for table in sorted(found.get_table_names())
    }
    engine.dispose()
    return told


def test_steps_lead_to_the_tables_that_a_new_ledger_has(
    tmp_path: Path, ledger_url: str, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "results").mkdir()
    migrate_from_nothing(ledger_url, f"schema_{schema.SCHEMA}")
    fresh = f"sqlite:///{tmp_path / 'fresh.sqlite'}"
    if ledger_url.startswith("postgresql"):
        fresh = request.getfixturevalue("postgres").url()
    with Ledger.open(fresh) as ledger:
        ledger.start_run(make_run())
    assert describe_tables(ledger_url) == describe_tables(fresh)


def test_every_schema_has_a_step_that_leads_to_it() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrating.__file__).parent / "migrations"))
    steps = [step.revision for step in ScriptDirectory.from_config(config).walk_revisions()]
    assert steps == [f"schema_{number}" for number in range(schema.SCHEMA, 0, -1)]


def test_processes_that_bring_a_ledger_up_to_date_at_once_all_succeed(tmp_path: Path) -> None:
    url = f"sqlite:///{make_old(tmp_path, 1)}"
    code = (
        "import sys; from host.ledger.store import Ledger; from tests.made_results import make_run\n"
        "with Ledger.open(sys.argv[1]) as ledger: ledger.start_run(make_run(sys.argv[2]))"
    )
    root = Path(__file__).parent.parent
    processes = [
        subprocess.Popen([sys.executable, "-c", code, url, f"run-{number}"], cwd=root) for number in range(3)
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    with Ledger.open(url) as ledger:
        assert {line.id for line in ledger.list_runs()} == {"old", "run-0", "run-1", "run-2"}
        check_old(ledger, 1)


def test_what_cannot_be_brought_up_to_date_stays_as_it_was(tmp_path: Path) -> None:
    file = make_old(tmp_path, 3)
    connection = sqlite3.connect(file)
    connection.execute("UPDATE measurements SET record = '{' WHERE task = 't2'")
    connection.commit()
    before = list(connection.iterdump())
    with Ledger.open(f"sqlite:///{file}") as ledger:
        with pytest.raises(LedgerError, match="a row of it cannot be read"):
            ledger.start_run(make_run("new"))
        with pytest.raises(LedgerError, match="a row of it cannot be read"):
            ledger.entries()
    assert list(connection.iterdump()) == before
    connection.close()


def test_an_unfit_task_can_be_saved_to_a_ledger_of_the_first_schema(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{make_old(tmp_path, 1)}") as ledger:
        assert ledger.save(make_unfit("t3", run="old"), [])
        assert [found.status for found in ledger.measurements("old")] == ["ok", "failed", "unfit"]
