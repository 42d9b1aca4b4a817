"""The Pareto front: what nothing beats, what is equal, and what was not measured."""

from __future__ import annotations

from host.ledger.pareto import find_front, find_unbeaten
from host.ledger.rows import Row
from host.specs.measurement import Power
from tests.made_results import make_failure, make_measurement, make_rows, make_sweep


def make_point(task: str, p50_ms: float, accuracy: float, size: int, energy: float | None = None) -> Row:
    source = None if energy is None else "ina"
    own = {"accuracy_device": accuracy, "file_bytes": size, "power": Power(source=source, energy_mj=energy)}
    return make_rows((make_measurement(task, variant=task, variant_id=task, **own), p50_ms))[0]


def test_what_is_worse_in_everything_is_not_on_the_front() -> None:
    rows = [make_point("fast", 1, 0.8, 100), make_point("good", 2, 0.9, 100), make_point("bad", 3, 0.8, 100)]
    front = find_front(rows)
    assert front.on_front == (True, True, False)
    assert front.axes == ("accuracy", "latency", "size")
    assert front.left_out == ("energy",)


def test_equal_rows_do_not_beat_each_other() -> None:
    rows = [make_point("a", 1, 0.9, 100), make_point("b", 1, 0.9, 100)]
    assert find_front(rows).on_front == (True, True)


def test_an_axis_counts_only_where_every_row_was_measured_on_it() -> None:
    rows = [make_point("a", 1, 0.9, 100, 5.0), make_point("b", 2, 0.9, 100, 4.0)]
    assert find_front(rows).on_front == (True, True)
    rows.append(make_point("c", 3, 0.8, 200))
    front = find_front(rows)
    assert "energy" in front.left_out
    assert front.on_front == (True, False, False)


def test_what_failed_is_on_no_front_and_takes_no_axis_away() -> None:
    told = [*make_sweep(), (make_failure("x", "killed", accuracy_host=None), None)]
    front = find_front(make_rows(*told))
    assert front.on_front == (True, False, True, False)
    assert front.axes == ("accuracy", "latency", "size")


def test_no_rows_make_no_front() -> None:
    assert find_front([]).on_front == ()
    assert find_unbeaten([]) == []
