"""Which measurements a selection finds: by the database itself, in the order of results."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from fnmatch import fnmatchcase

import pytest

from host.ledger import store
from host.ledger.rows import result_rows, stream_rows
from host.ledger.selecting import EVERYTHING, Selection
from host.ledger.store import Ledger
from tests.made_results import START, make_failure, make_measurement, make_rounds, make_run

VARIANTS = ("dense", "int8", "int8+fp16", "INT8", "channel-50", "a.b", "[x]")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """Two runs of every variant on two boards; one measurement of the older run failed."""
    with Ledger.open(ledger_url) as opened:
        for minute, run in enumerate(("old", "new")):
            tasks = tuple(f"{device}-{variant}" for device in ("pi4", "pi5") for variant in VARIANTS)
            opened.start_run(make_run(run, minute, tasks))
            for at, task in enumerate(reversed(tasks)):
                device, variant = task[:3], task[4:]
                facts = {"run": run, "device": device, "variant": variant, "is_baseline": variant == "dense"}
                facts["started_at"] = START + timedelta(hours=minute)
                if at == 3 and run == "old":
                    opened.save(make_failure(task, "killed", **facts), [])
                else:
                    opened.save(make_measurement(task, **facts), make_rounds(1.0 + len(variant)))
        yield opened


def find(ledger: Ledger, **wanted: object) -> list[tuple[str, str]]:
    """The measurements that both ways of reading find."""
    where = Selection.model_validate(wanted)
    found = [
        (entry.measurement["run"], entry.measurement["task"]) for entry in ledger.stream_entries(None, where)
    ]
    assert [(figures.run, figures.task) for figures in ledger.figures(None, where)] == found
    return found


def test_each_field_narrows_and_several_values_widen(ledger: Ledger) -> None:
    assert len(find(ledger)) == 28
    assert len(find(ledger, devices=("pi4",))) == 14
    assert len(find(ledger, devices=("pi4", "pi5"), runs=("new",))) == 14
    assert find(ledger, statuses=("failed",)) == [("old", "pi5-INT8")]
    assert find(ledger, devices=("pi4",), variants=("int8",)) == [("new", "pi4-int8"), ("old", "pi4-int8")]
    assert find(ledger, is_baseline=True, devices=("pi5",), runs=("old",)) == [("old", "pi5-dense")]
    assert len(find(ledger, since=START + timedelta(minutes=30))) == 14
    assert find(ledger, models=("other",)) == find(ledger, runtimes=("tensorrt",)) == []
    assert find(ledger, precisions=("int8",)) == []


def test_a_limit_takes_the_first(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = find(ledger)
    monkeypatch.setattr(store, "BATCH", 3)
    monkeypatch.setattr(store, "RUNS", 1)
    assert find(ledger) == everything
    assert everything[:2] == [("new", "pi4-dense"), ("new", "pi4-int8")]
    for limit in (1, 3, 4, 14, 15, 99):
        assert find(ledger, limit=limit) == everything[:limit]


@pytest.mark.parametrize(
    "pattern",
    ["int8*", "*8", "?nt8", "[ic]*", "[!i]*", "a.b", "a?b", "*", "[[]x]", "x*", "a.*", "[z-a]", "[^x]*"],
)
def test_a_pattern_means_what_it_means_in_a_shell(ledger: Ledger, pattern: str) -> None:
    expected = [variant for variant in VARIANTS if fnmatchcase(variant, pattern)]
    found = find(ledger, variants=(pattern,), devices=("pi4",), runs=("new",))
    assert [task[4:] for _, task in found] == expected


def test_rows_are_compared_with_baselines_that_are_not_selected(ledger: Ledger) -> None:
    (row,) = result_rows(ledger, "new", Selection(devices=("pi4",), variants=("int8",)))
    everything = {one["task"]: one for one in result_rows(ledger, "new")}
    assert row == everything["pi4-int8"]
    assert row["speedup"] == pytest.approx(6 / 5)
    assert list(stream_rows(ledger, None, EVERYTHING)) == result_rows(ledger)


def test_runs_are_listed_with_what_came_of_them(ledger: Ledger) -> None:
    ledger.start_run(make_run("empty", 9, ("t",)))
    told = [(line.id, line.tasks, line.measured, line.failed, line.unfit) for line in ledger.list_runs()]
    assert told == [("empty", 1, 0, 0, 0), ("new", 14, 14, 0, 0), ("old", 14, 13, 1, 0)]
