"""How far a run is, as the board tells who looks: counted while it measures, found at the journal's end."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from device_agent.journal import Known
from device_agent.standing import read_last
from device_agent.tally import Tally

JOB = {"protocol": {"rounds": 3}, "tasks": [{"task": "a"}, {"task": "b"}]}


def make_journal(*events: tuple[str, dict[str, Any]]) -> bytes:
    lines = [
        json.dumps({"seq": seq, "event": event, "wall": 1.0, "mono": 2.0, **fields})
        for seq, (event, fields) in enumerate(events, start=1)
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def find(journal: bytes) -> Any:
    found = read_last(io.BytesIO(journal), "progress")
    return None if found is None else found["phase"]


@pytest.mark.parametrize("size", [0, 10, 65_000, 65_536, 200_000])
def test_the_last_step_is_found_before_rounds_of_any_size(size: int) -> None:
    journal = make_journal(
        ("progress", {"phase": "opening"}),
        ("progress", {"phase": "round"}),
        ("round", {"samples_ns": "x" * size}),
        ("round", {"samples_ns": "y" * size}),
    )
    assert find(journal) == "round"
    assert find(journal + b'{"seq": 5, "event": "progress", "pha') == "round"


def test_a_journal_without_a_step_has_none() -> None:
    assert find(b"") is None
    assert find(b'{"seq": 1, "event": "prog') is None
    assert find(make_journal(("run-started", {"x": "z" * 70_000}))) is None


def test_rounds_that_are_done_are_counted_with_those_of_an_earlier_start() -> None:
    tally = Tally(JOB, Known({"a": {0, 1}, "other": {0}}, {}, "stopped"))
    tally.note("progress", {"task": "a"})
    tally.note("round", {"task": "b", "round": 0})
    told = tally.describe()
    assert (told["rounds_total"], told["rounds_done"], told["rounds_since"]) == (6, 3, 1)
    tally.note("result", {"task": "a", "status": "failed"})
    assert tally.describe()["rounds_done"] == 4
