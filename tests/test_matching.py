"""Which row belongs to which: the same settings first, then the only ones left; nothing is paired twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from host.ledger.matching import match_rows, match_strictly
from tests.made_results import make_failure, make_measurement, make_rows, make_sweep, make_unfit


def tasks(rows: Sequence[Any]) -> list[object]:
    return [row["task"] if isinstance(row, dict) else (row[0]["task"], row[1]["task"]) for row in rows]


def test_two_runs_are_paired_by_variant_and_device_in_the_order_of_the_first() -> None:
    before, after = make_rows(*make_sweep()), make_rows(*make_sweep(run="r2"))[::-1]
    matched = match_rows(before, after, "run")
    assert [(one["variant"], other["variant"]) for one, other in matched.pairs] == [
        ("dense", "dense"),
        ("channel-50", "channel-50"),
        ("int8", "int8"),
    ]
    assert (matched.only_first, matched.only_second) == ((), ())


def test_what_one_side_lacks_is_left_over() -> None:
    before, after = make_rows(*make_sweep()), make_rows(*make_sweep(run="r2"))
    matched = match_rows(before[:2], after[1:], "run")
    assert tasks(matched.only_first) == ["pi4-dense"]
    assert tasks(matched.only_second) == ["pi4-int8"]


def test_variants_are_paired_setting_by_setting() -> None:
    rows = make_rows(
        *((make_measurement(f"a{n}", variant="a", threads=n), 5.0) for n in (1, 2, 4)),
        *((make_measurement(f"b{n}", variant="b", threads=n), 4.0) for n in (4, 1)),
    )
    first, second = ([row for row in rows if row["variant"] == name] for name in "ab")
    matched = match_rows(first, second, "variant")
    assert tasks(matched.pairs) == [("a1", "b1"), ("a4", "b4")]
    assert tasks(matched.only_first) == ["a2"]


def test_the_only_ones_left_are_paired_although_their_settings_differ() -> None:
    before = make_rows((make_measurement("a", provider="CUDAExecutionProvider"), 5.0))
    after = make_rows((make_measurement("b", provider="CPUExecutionProvider", threads=None), 9.0))
    assert tasks(match_rows(before, after, "run").pairs) == [("a", "b")]
    other = make_rows((make_measurement("c", runtime="openvino", provider="CPU"), 9.0))
    assert tasks(match_rows(before, other, "run").pairs) == [("a", "c")]


def test_two_that_come_into_question_are_not_guessed_between() -> None:
    before = make_rows((make_measurement("a", threads=1), 5.0))
    after = make_rows(*((make_measurement(f"b{n}", threads=n), 5.0) for n in (2, 4)))
    matched = match_rows(before, after, "run")
    assert matched.pairs == ()
    assert tasks(matched.only_second) == ["b2", "b4"]


def test_other_batches_and_scenarios_are_never_paired() -> None:
    before = make_rows((make_measurement("a", scenario="single-stream"), 5.0))
    for change in ({"batch": 8}, {"scenario": "offline"}):
        assert match_rows(before, make_rows((make_measurement("b", **change), 5.0)), "run").pairs == ()


def test_what_no_board_was_asked_for_has_its_counterpart_too() -> None:
    before = make_rows((make_unfit("a", threads=None), None))
    after = make_rows((make_unfit("b", threads=1, scenario="single-stream"), None))
    assert tasks(match_rows(before, after, "run").pairs) == [("a", "b")]


def test_devices_are_paired_variant_by_variant() -> None:
    first, second = make_rows(*make_sweep()), make_rows(*make_sweep(device="pi5", threads=4))
    assert len(match_rows(first, second, "device").pairs) == 3


def strict(before: Sequence[Any], after: Sequence[Any]) -> tuple[list[object], list[object], list[object]]:
    found = match_strictly(before, after)
    return tasks(found.pairs), tasks(found.only_first), tasks(found.only_second)


def test_nothing_is_judged_by_what_ran_with_other_settings() -> None:
    before = make_rows((make_measurement("a", threads=1, runtime_settings={"spinning": True}), 5.0))
    for change in (
        {"threads": 4},
        {"threads": None},
        {"runtime": "openvino", "provider": "CPU"},
        {"runtime_settings": {"spinning": False}},
    ):
        own = {"threads": 1, "runtime_settings": {"spinning": True}} | change
        assert strict(before, make_rows((make_measurement("b", **own), 5.0))) == ([], ["a"], ["b"])


def test_a_runtime_that_fell_back_is_judged_by_what_it_was_asked_for() -> None:
    before = make_rows(
        *((make_measurement(f"a{n}", threads=n, provider="CUDAExecutionProvider"), 5.0) for n in (1, 4))
    )
    after = make_rows(*((make_measurement(f"b{n}", threads=n), 9.0) for n in (4, 1)))
    assert strict(before, after) == ([("a1", "b1"), ("a4", "b4")], [], [])


def test_what_failed_is_judged_though_it_tells_only_what_it_was_asked_for() -> None:
    told = {"spinning": True, "arena": True}
    fine = [(make_measurement(f"a{n}", threads=n, runtime_settings=told), 5.0) for n in (1, 4)]
    failed = [(make_failure(f"b{n}", "killed", threads=n), None) for n in (1, 4)]
    assert strict(make_rows(*fine), make_rows(*failed))[0] == [("a1", "b1"), ("a4", "b4")]
    assert strict(make_rows(*failed), make_rows(*fine))[0] == [("b1", "a1"), ("b4", "a4")]
    all_cores = make_rows((make_failure("b", "killed", threads=None), None))
    assert strict(make_rows(fine[0]), all_cores)[0] == [("a1", "b")]
    assert strict(make_rows(*fine), all_cores) == ([], ["a1", "a4"], ["b"])
