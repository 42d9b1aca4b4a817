"""Runs that travel in a file: merged once, never in place of others, and refused when they are not whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import sqlite3
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from host.errors import LedgerError, UsageError
from host.ledger import archive
from host.ledger.archive import MEMBERS, Writer
from host.ledger.baselines import find_baseline, list_baselines, save_baseline
from host.ledger.exporting import export_runs
from host.ledger.importing import import_runs
from host.ledger.lines import write_line
from host.ledger.packing import pack_samples
from host.ledger.store import Ledger
from tests.bench_command import bench, run_bench
from tests.made_results import START, make_failure, make_measurement, make_rounds, make_run


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """Two runs and a baseline in a file."""
    with open_named(tmp_path, "source") as ledger:
        fill(ledger)
        export_runs(ledger, (), tmp_path / "runs.zip")
    return tmp_path / "runs.zip"


def open_named(folder: Path, name: str) -> Ledger:
    return Ledger.open(f"sqlite:///{folder / name}.sqlite")


def fill(ledger: Ledger) -> None:
    ledger.start_run(make_run("r1", 0, tasks=("t1", "t2")))
    ledger.save(make_measurement("t1"), make_rounds())
    ledger.save(make_failure("t2", "killed"), [])
    ledger.finish_run("r1", "completed", START)
    ledger.start_run(make_run("r2", 5, tasks=("t1",)))
    ledger.save(make_measurement("t1", run="r2"), make_rounds(p50_ms=7.0))
    save_baseline(ledger, "main", "r1")


def dump(ledger: Ledger) -> list[Any]:
    """All that a ledger tells."""
    entries = ledger.entries()
    keys = [(entry.measurement["run"], entry.measurement["task"]) for entry in entries]
    samples = [[held.tolist() for held in ledger.samples(*key)] for key in keys]
    return [ledger.runs(), entries, samples, list_baselines(ledger)]


def test_an_import_holds_all_that_was_exported(tmp_path: Path, exported: Path, ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger, open_named(tmp_path, "source") as source:
        done = import_runs(ledger, exported)
        assert done.runs == {"added": 2, "replaced": 0, "known": 0, "conflict": 0}
        assert done.measurements["added"] == 3
        assert done.baselines["added"] == 1
        assert dump(ledger) == dump(source)
        again = import_runs(ledger, exported)
        assert (again.runs["known"], again.measurements["known"], again.baselines["known"]) == (2, 3, 1)
        assert dump(ledger) == dump(source)
        back = export_runs(ledger, (), tmp_path / "back.zip")
    assert (back.runs, back.measurements, back.baselines) == (2, 3, 1)
    assert read_members(tmp_path / "back.zip") == read_members(exported)


def read_members(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as opened:
        return {name: opened.read(name) for name in MEMBERS}


def test_two_laptops_merge_in_both_directions(tmp_path: Path, exported: Path) -> None:
    with open_named(tmp_path, "other") as other, open_named(tmp_path, "source") as source:
        other.start_run(make_run("r3", 9))
        other.save(make_measurement("t1", run="r3"), make_rounds())
        import_runs(other, exported)
        export_runs(other, (), tmp_path / "other.zip")
        import_runs(source, tmp_path / "other.zip")
        assert dump(other) == dump(source)
        assert [run.id for run in source.runs()] == ["r3", "r2", "r1"]


def test_only_the_runs_that_are_named_are_exported(tmp_path: Path, exported: Path) -> None:
    with open_named(tmp_path, "source") as source, open_named(tmp_path, "other") as other:
        done = export_runs(source, ["r2"], tmp_path / "one.zip")
        assert (done.runs, done.measurements, done.baselines) == (1, 1, 0)
        import_runs(other, tmp_path / "one.zip")
        assert [run.id for run in other.runs()] == ["r2"]
        with pytest.raises(UsageError, match="there is no run 'r9'"):
            export_runs(source, ["r9"], tmp_path / "none.zip")
        with pytest.raises(LedgerError, match="cannot be written"):
            export_runs(source, (), tmp_path / "missing" / "none.zip")
    with open_named(tmp_path, "empty") as empty, pytest.raises(UsageError, match="holds no runs yet"):
        export_runs(empty, (), tmp_path / "none.zip")
    assert not list(tmp_path.glob("none.zip*"))


def test_a_later_attempt_replaces_a_failure_and_never_a_success(tmp_path: Path, exported: Path) -> None:
    with open_named(tmp_path, "source") as source, open_named(tmp_path, "other") as other:
        import_runs(other, exported)
        source.save(make_measurement("t2"), make_rounds())
        export_runs(source, (), tmp_path / "later.zip")
        assert import_runs(other, tmp_path / "later.zip").measurements["replaced"] == 1
        assert dump(other) == dump(source)
        assert import_runs(other, exported).measurements["known"] == 3
        assert dump(other) == dump(source)


def test_how_far_a_run_is_follows_the_later_one(tmp_path: Path, exported: Path) -> None:
    with open_named(tmp_path, "source") as source, open_named(tmp_path, "other") as other:
        import_runs(other, exported)
        assert other.find_run("r2").status == "running"
        source.finish_run("r2", "completed", START)
        export_runs(source, (), tmp_path / "later.zip")
        import_runs(other, tmp_path / "later.zip")
        assert other.find_run("r2").status == "completed"
        import_runs(other, exported)
        assert other.find_run("r2").status == "completed"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda ledger: ledger.save(make_measurement("t1", accuracy_device=0.1), make_rounds()),
            "another result",
        ),
        (lambda ledger: ledger.save(make_measurement("t1"), make_rounds(seed=9)), "other samples"),
        (lambda ledger: ledger.save(make_failure("t2", "starved"), []), "another failure"),
    ],
    ids=["result", "samples", "failure"],
)
def test_another_result_under_the_same_name_is_never_overwritten(
    tmp_path: Path, exported: Path, change: Callable[[Ledger], object], said: str
) -> None:
    with open_named(tmp_path, "other") as other:
        other.start_run(make_run("r1", 0, tasks=("t1", "t2")))
        change(other)
        before = dump(other)
        with pytest.raises(LedgerError, match=f"{said}[\\s\\S]*--keep-ours"):
            import_runs(other, exported)
        assert dump(other) == before
        done = import_runs(other, exported, keep_ours=True)
        assert len(done.conflicts) == 1
        assert done.runs["added"] == 1
        held = other.entries("r1")
        assert all(entry in held for entry in before[1])
        assert len(held) == 2


def test_another_run_or_baseline_of_the_same_name_is_a_conflict(tmp_path: Path, exported: Path) -> None:
    with open_named(tmp_path, "other") as other:
        other.start_run(make_run("r1", 0, tasks=("x",)))
        save_baseline(other, "main", "r1")
        with pytest.raises(LedgerError, match="run r1: another plan"):
            import_runs(other, exported)
    with open_named(tmp_path, "third") as third:
        third.start_run(make_run("r0"))
        save_baseline(third, "main", "r0")
        with pytest.raises(LedgerError, match="baseline main: run r0 here, run r1 there"):
            import_runs(third, exported)
        assert import_runs(third, exported, keep_ours=True).baselines["conflict"] == 1
        assert find_baseline(third, "main").id == "r0"


def check_refused(tmp_path: Path, file: Path, said: str = "") -> None:
    """That a file is refused, and nothing of it stays."""
    with open_named(tmp_path, "victim") as victim:
        with pytest.raises(LedgerError, match=said):
            import_runs(victim, file)
        assert victim.runs() == []


def test_a_truncated_file_is_refused(tmp_path: Path, exported: Path) -> None:
    whole = exported.read_bytes()
    part = tmp_path / "part.zip"
    for kept in (0, 1, 10, len(whole) // 2, len(whole) - 22, len(whole) - 1):
        part.write_bytes(whole[:kept])
        check_refused(tmp_path, part, "cannot be imported")
    part.write_text("not a zip at all")
    check_refused(tmp_path, part, "cannot be imported")
    check_refused(tmp_path, tmp_path / "absent.zip", "cannot be read")
    check_refused(tmp_path, tmp_path, "cannot be read")


def test_no_flipped_bit_changes_what_is_imported(tmp_path: Path, exported: Path) -> None:
    whole = exported.read_bytes()
    part = tmp_path / "flipped.zip"
    with open_named(tmp_path, "source") as source:
        expected = dump(source)
    chosen = random.Random(0)
    refused = 0
    for number in range(60):
        at = chosen.randrange(len(whole))
        part.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << chosen.randrange(8)]) + whole[at + 1 :])
        with open_named(tmp_path, f"flipped-{number}") as ledger:
            try:
                import_runs(ledger, part)
            except LedgerError:
                refused += 1
            else:  # the zip has fields that say nothing of what it holds, such as times
                assert dump(ledger) == expected
    assert refused > 30


def rewrite(source: Path, target: Path, edit: Callable[[str, bytes], bytes]) -> None:
    """A zip that is whole, with other members."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, edit(name, old.read(name)))


def test_an_edited_file_is_refused(tmp_path: Path, exported: Path) -> None:
    edited = tmp_path / "edited.zip"
    rewrite(
        exported,
        edited,
        lambda name, held: held.replace(b'"accuracy_device":0.98', b'"accuracy_device":0.99'),
    )
    check_refused(tmp_path, edited, "measurements.jsonl is not what was exported")
    rewrite(exported, edited, lambda name, held: held + b"\n" if name == "runs.jsonl" else held)
    check_refused(tmp_path, edited, "runs.jsonl is not what was exported")
    rewrite(exported, edited, lambda name, held: held.replace(b'"lines": 3', b'"lines": 2'))
    check_refused(tmp_path, edited, "its manifest was edited")


def write_file(file: Path, measurements: list[bytes], runs: list[bytes] | None = None) -> None:
    """A file that is whole by its checksums, whatever is in it."""
    run = make_run().model_dump_json().encode()
    with file.open("wb") as stream:
        writer = Writer(stream)
        writer.write("runs.jsonl", [run] if runs is None else runs)
        writer.write("measurements.jsonl", measurements)
        writer.write("baselines.jsonl", [])
        writer.close()


def line_with(rounds: list[tuple[int, bytes]] | None = None, **changes: Any) -> bytes:
    return write_line(make_measurement().as_json() | changes, rounds or [])


HOSTILE = {
    "no JSON": b"{",
    "not UTF-8": b'"\xff"',
    "another thing": b"[]",
    "deep": b"[" * 100_000,
    "not a number": line_with().replace(b'"accuracy_host":0.98', b'"accuracy_host":NaN'),
    "an unknown key": line_with(cheat=1),
    "a key left out": line_with().replace(b'"device":"pi4",', b""),
    "another run": line_with(run="r9"),
    "a long name": line_with(task="t" * 81),
    "a large number": line_with(threads=1 << 31),
    "a huge number": line_with(file_bytes=1 << 70),
    "a time without end": line_with(started_at="0001-01-01T00:00:00+23:59"),
    "fewer samples": line_with([(9, pack_samples(np.arange(8)))]),
    "more samples": line_with([(7, pack_samples(np.arange(8)))]),
    "a bomb of samples": line_with([(1 << 40, b"")]),
    "samples below zero": line_with([(2, pack_samples(np.array([-5, 3])))]),
    "no samples": line_with([(2, b"zlib?")]),
    "an option of many values": line_with(runtime_settings={"spinning": [1]}),
    "samples of zero": line_with([(3, pack_samples(np.array([4, 0, 3])))]),
    "samples of an hour": line_with([(2, pack_samples(np.array([5, 3600 * 10**9])))]),
    "an empty file": line_with(file_bytes=0),
    "a file below zero": line_with(file_bytes=-5),
    "a packed file below zero": line_with(packed_bytes=-5),
    "no threads": line_with(threads=0),
    "no images": line_with(batch=0),
    "an accuracy of many": line_with(accuracy_device=7.5),
    "unfit without a reason": line_with(status="unfit", error=None),
    "failed without a reason": line_with(status="failed", error=None),
    "a reason without a failure": line_with(error={"kind": "memory", "message": "x"}),
    "a time in seconds": line_with(started_at=1767355200),
    "a time without a zone": line_with(started_at="2026-01-02T12:00:00"),
    "a text for a number": line_with(threads="4"),
    "a number beyond all": line_with().replace(b'"performance"', b"1e999"),
    "a lone surrogate": line_with().replace(b'"variant":"dense"', b'"variant":"\\ud800"'),
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_no_release_has_written_is_refused_with_its_line(tmp_path: Path, line: bytes) -> None:
    write_file(tmp_path / "hostile.zip", [line_with(task="t0"), line])
    check_refused(tmp_path, tmp_path / "hostile.zip", "line 2 of measurements.jsonl is not valid")


HOSTILE_RUNS: dict[str, dict[str, Any]] = {
    "tasks without an id": {"plan": {"tasks": [{"x": 1}]}},
    "tasks that are none": {"plan": {"tasks": 7}},
    "variants of text": {"plan": {"variants": ["x"]}},
    "variants that are none": {"plan": {"variants": 7}},
    "a recipe of text": {"plan": {"variants": [{"id": "v", "recipe": "x"}]}},
    "an input of text": {"plan": {"variants": [{"id": "v", "recipe": {"input": "x"}}]}},
    "a chain of text": {"plan": {"variants": [{"id": "v", "variant": {"prune": "x"}}]}},
    "files of text": {"plan": {"files": ["x"]}},
    "a protocol of numbers": {"plan": {"measure": [1]}},
    "a plan of text": {"plan": "x"},
    "a time in seconds": {"started_at": 1767355200},
    "a time without a zone": {"started_at": "2026-01-02T12:00:00"},
    "an end without a zone": {"finished_at": "2026-01-02T12:00:00"},
}


@pytest.mark.parametrize("changes", HOSTILE_RUNS.values(), ids=HOSTILE_RUNS.keys())
def test_a_run_that_nobody_could_read_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    told = make_run(tasks=("t1",)).model_dump(mode="json") | changes
    write_file(tmp_path / "hostile.zip", [line_with()], [json.dumps(told).encode()])
    check_refused(tmp_path, tmp_path / "hostile.zip", "line 1 of runs.jsonl is not valid")


@pytest.mark.parametrize("version", [1, 2, 3])
def test_what_older_releases_measured_travels_too(tmp_path: Path, version: int) -> None:
    recording = Path(__file__).parent / "recordings" / "ledgers" / f"schema_{version}.sql"
    with contextlib.closing(sqlite3.connect(tmp_path / "old.sqlite")) as connection:
        connection.executescript(recording.read_text())
    with open_named(tmp_path, "old") as old, open_named(tmp_path, "new") as new:
        export_runs(old, (), tmp_path / "old.zip")
        imported = import_runs(new, tmp_path / "old.zip")
        assert imported.measurements["added"] == len(old.entries()) > 0


def test_a_file_that_would_become_enormous_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bomb.zip"
    write_file(file, [b" " * (1 << 22)])
    monkeypatch.setattr(archive, "MOST_LINE", 1 << 20)
    check_refused(tmp_path, file, "longer than any measurement")
    monkeypatch.setattr(archive, "SMALL", 1 << 20)
    check_refused(tmp_path, file, "times as long as it is")


def test_a_member_that_is_longer_than_it_says_is_not_read_to_its_end(tmp_path: Path, exported: Path) -> None:
    long = tmp_path / "long.zip"
    rewrite(exported, long, lambda name, held: b"0" * (1 << 24) if name == "runs.jsonl" else held)
    check_refused(tmp_path, long, "runs.jsonl is not what was exported")


def test_other_zips_are_refused(tmp_path: Path, exported: Path) -> None:
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as opened:
        opened.writestr("../../etc/passwd", "x")
    check_refused(tmp_path, other, "no export of runs")
    other.write_bytes(exported.read_bytes())
    with zipfile.ZipFile(other, "a") as opened:
        opened.writestr("more.jsonl", "x")
    check_refused(tmp_path, other, "no export of runs")
    whole = bytearray(exported.read_bytes())
    at = whole.index(b"PK\x01\x02")
    struct.pack_into("<H", whole, at + 8, 1)  # encrypted
    other.write_bytes(whole)
    check_refused(tmp_path, other, "cannot be imported")


def test_a_file_of_a_newer_release_says_so(tmp_path: Path, exported: Path) -> None:
    newer = tmp_path / "newer.zip"
    told: dict[str, bytes] = {}

    def raise_version(name: str, held: bytes) -> bytes:
        if name == "manifest.json":
            held = json.dumps(json.loads(held) | {"version": 2, "colour": "red"}).encode()
            told["seal"] = hashlib.sha256(held).hexdigest().encode()
        return told["seal"] if name == "manifest.sha256" else held

    rewrite(exported, newer, raise_version)
    check_refused(tmp_path, newer, r"newer boardbench \(format 2")


def test_the_commands_tell_what_they_did(tmp_path: Path, exported: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "devices.yaml").write_text("devices: {}\n")
    (one / "results").mkdir()
    (tmp_path / "source.sqlite").rename(one / "results" / "boardbench.sqlite")
    said = json.loads(bench(one, "export", "r1", "-o", "r1.zip", "--format", "json"))
    assert (said["file"], said["runs"], said["measurements"], said["baselines"]) == ("r1.zip", 1, 2, 1)
    assert said["bytes"] == (one / "r1.zip").stat().st_size
    said = json.loads(bench(other, "import", str(one / "r1.zip"), "--format", "json"))
    assert said["measurements"] == {"added": 2, "replaced": 0, "known": 0, "conflict": 0}
    assert (
        bench(other, "import", str(one / "r1.zip"))
        == "runs: 1 known\nmeasurements: 2 known\nbaselines: 1 known\n"
    )
    (one / "r1.zip").write_bytes((one / "r1.zip").read_bytes()[:500])
    ended = run_bench(other, "import", str(one / "r1.zip"))
    assert (ended.code, ended.out) == (2, "")
    assert "Nothing was imported" in ended.err
