"""The journal: numbered lines that are whole or not there."""

from __future__ import annotations

import json
import os
import resource
import signal
from array import array
from pathlib import Path
from typing import Any

import pytest

from device_agent.journal import (
    Journal,
    Tail,
    pack_samples,
    read_known,
    read_lines,
    read_task,
    unpack_samples,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def append(path: Path, *events: tuple[str, dict[str, Any]]) -> None:
    journal = Journal(str(path))
    for event, fields in events:
        journal.append(event, **fields)
    journal.close()


def test_lines_are_numbered_without_gaps_over_several_starts(path: Path) -> None:
    append(path, ("progress", {"task": "a"}), ("progress", {"task": "b"}))
    append(path, ("run-ended", {"reason": "stopped"}))
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [one["seq"] for one in told] == [1, 2, 3]
    assert all(one["wall"] > 0 and one["mono"] > 0 for one in told)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("torn", [b'{"seq": 3, "event": "rou', b"\0" * 4096, b'{"seq"', b"garbage\n"])
def test_a_torn_last_line_is_cut_off_and_its_number_used_again(path: Path, torn: bytes) -> None:
    append(path, ("progress", {}), ("progress", {}))
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    append(path, ("run-ended", {"reason": "completed"}))
    assert path.read_bytes().startswith(whole)
    assert [line.seq for line in read_lines(str(path))] == [1, 2, 3]


def flip(raw: bytes, where: bytes, further: int) -> bytes:
    """The bytes with one bit changed, a little after a word."""
    changed = bytearray(raw)
    changed[raw.rindex(where) + further] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("where", "further"),
    [(b'"samples_ns": "', 30), (b'"task": "b"', 8), (b'{"seq": 3', 8), (b', "wall"', 0), (b'"}', 1)],
    ids=["samples", "quote", "number", "comma", "brace"],
)
def test_a_line_that_the_disk_has_damaged_is_cut_off_with_all_that_follows(
    path: Path, where: bytes, further: int
) -> None:
    samples = pack_samples(array("Q", range(1000, 1100)), 100)
    append(path, ("progress", {"task": "a"}), ("result", {"task": "a", "status": "ok"}))
    whole = path.read_bytes()
    append(path, ("round", {"task": "b", "round": 0, "samples_ns": samples}))
    damaged = flip(path.read_bytes(), where, further)
    append(path, ("run-ended", {"reason": "completed"}))
    path.write_bytes(damaged + path.read_bytes()[len(damaged) :])
    assert read_known(str(path)) == ({}, {"a": "ok"}, None)
    append(path, ("run-ended", {"reason": "stopped"}))
    assert path.read_bytes().startswith(whole)
    assert [line.event for line in read_lines(str(path))] == ["progress", "result", "run-ended"]


def test_a_line_that_does_not_fit_on_the_disk_is_taken_back(path: Path) -> None:
    journal = Journal(str(path))
    journal.append("progress", task="a")
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            journal.append("round", samples_ns="x" * 1000)
        assert path.read_bytes() == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert journal.append("round", samples_ns="x" * 1000) == 2
    journal.close()


def test_a_number_that_json_does_not_know_never_reaches_the_journal(path: Path) -> None:
    journal = Journal(str(path))
    with pytest.raises(ValueError, match="JSON"):
        journal.append("result", value=float("nan"))
    assert path.read_bytes() == b""
    journal.close()


def test_a_tail_waits_for_the_rest_of_a_line(path: Path) -> None:
    append(path, ("progress", {}), ("progress", {}))
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    tail = Tail(str(path))
    assert [line.seq for line in tail.read()] == [1]
    assert list(tail.read()) == []
    with path.open("ab") as file:
        file.write(whole[-10:])
    assert [line.seq for line in tail.read()] == [2]
    tail.close()


def test_what_is_known_are_rounds_results_and_the_last_end(path: Path) -> None:
    assert read_known(str(path)) == ({}, {}, None)
    append(
        path,
        ("round", {"task": "a", "round": 0}),
        ("round", {"task": "a", "round": 2}),
        ("result", {"task": "b", "status": "failed"}),
        ("run-ended", {"reason": "stopped"}),
    )
    assert read_known(str(path)) == ({"a": {0, 2}}, {"b": "failed"}, "stopped")
    append(path, ("run-started", {"run": "r"}))
    assert read_known(str(path)).ended is None


def test_a_tasks_lines_are_found_among_others(path: Path) -> None:
    append(
        path,
        ("task-opened", {"task": "a"}),
        ("task-opened", {"task": "ab"}),
        ("round", {"task": "a", "round": 0, "samples_ns": "x" * 1000}),
        ("round", {"task": "ab", "round": 0, "samples_ns": "x"}),
        ("progress", {"task": "a"}),
    )
    opened, rounds = read_task(str(path), "a")
    assert [one["seq"] for one in opened + rounds] == [1, 3]


def test_samples_come_back_as_they_were_and_nothing_behind_them() -> None:
    samples = array("Q", [1, 2**40, 3, 0, 0])
    assert list(unpack_samples(pack_samples(samples, 3))) == [1, 2**40, 3]
    assert list(samples) == [1, 2**40, 3, 0, 0]


def test_every_line_is_on_the_disk_before_it_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        sync(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", note)
    append(path, ("progress", {}))
    assert synced == [path.stat().st_size]
