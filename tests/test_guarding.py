"""Limits: broken only beyond doubt, doubt is told apart, and what fails once gets a second chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from host.ledger.comparing import Difference
from host.ledger.contrast import Contrast, contrast_rows, describe_lonely, describe_side
from host.ledger.guarding import Checked, Guards, judge_again, judge_limits, judge_missing, judge_present
from host.ledger.rows import Row
from host.specs.measurement import Memory, Power
from tests.made_results import Rounds, make_failure, make_measurement, make_rounds, make_rows

SLOWDOWN = Guards(max_slowdown=0.05)


def make_pair(
    ratio: float,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    wide: bool = False,
) -> Contrast:
    """A pair of runs; `wide` rounds differ so much that nobody can tell."""
    rows = make_rows(
        (make_measurement("a", **(before or {})), 5.0),
        (make_measurement("a", **({"run": "r2"} | (after or {}))), 5.0 * ratio),
    )
    samples = {"r1": draw(5.0, 1, wide), "r2": draw(5.0 * ratio, 2, wide)}
    return contrast_rows(rows[0], rows[1], "run", lambda row: samples[row["run"]], {})


def draw(p50_ms: float, seed: int, wide: bool) -> Rounds:
    rounds = make_rounds(p50_ms, rounds=5, count=200, seed=seed)
    levels = np.linspace(0.9, 1.1, 5) if wide else np.ones(5)
    return [np.rint(one * level).astype(np.int64) for one, level in zip(rounds, levels, strict=True)]


def judge(contrast: Contrast, guards: Guards) -> Checked:
    row = make_rows((make_measurement("a", run="r2"), 5.0))[0]
    return judge_present(contrast.second, contrast, describe_lonely(row), guards)


@pytest.mark.parametrize(("ratio", "verdict"), [(1.0, "kept"), (0.5, "kept"), (1.1, "broken")])
def test_a_slowdown_breaks_the_limit_where_the_whole_interval_lies_beyond(ratio: float, verdict: str) -> None:
    assert judge(make_pair(ratio), SLOWDOWN).verdict == verdict


def test_an_interval_that_holds_the_limit_is_no_verdict() -> None:
    found = judge(make_pair(1.1, wide=True), SLOWDOWN)
    assert found.verdict == "cannot tell"
    assert "the interval holds the limit" in found.judgements[0].text


def test_a_limit_below_what_equal_programs_differ_by_is_not_broken_by_that() -> None:
    found = judge(make_pair(1.015), Guards(max_slowdown=0.0))
    assert found.verdict == "cannot tell"
    assert "equal programs differ" in found.judgements[0].text


def test_an_emulated_board_beside_a_real_one_is_not_judged_by_latency() -> None:
    assert judge(make_pair(2.0, after={"is_emulated": True}), SLOWDOWN).verdict == "cannot tell"


@pytest.mark.parametrize(
    ("guards", "after", "verdict"),
    [
        ({"max_accuracy_drop": 0.5}, {"accuracy_device": 0.975}, "kept"),
        ({"max_accuracy_drop": 0.5}, {"accuracy_device": 0.974}, "broken"),
        ({"max_accuracy_drop": 0.0}, {"accuracy_device": 0.99}, "kept"),
        ({"max_accuracy_drop": 0.5}, {"accuracy_device": None, "accuracy_host": None}, "cannot tell"),
        ({"max_memory_bytes": 80.5 * 2**20}, {}, "kept"),
        ({"max_memory_bytes": 80e6}, {}, "broken"),
        ({"max_memory_bytes": 80e6}, {"memory_mb": Memory()}, "cannot tell"),
        ({"max_memory_growth": 0.1}, {"memory_mb": Memory(peak=88.5)}, "kept"),
        ({"max_memory_growth": 0.1}, {"memory_mb": Memory(peak=88.6)}, "broken"),
        ({"max_size_bytes": 8.9e6}, {}, "kept"),
        ({"max_size_bytes": 8.8e6}, {}, "broken"),
        ({"max_energy_growth": 0.1}, {}, "cannot tell"),
        ({"max_latency_ms": 6.0}, {}, "kept"),
        ({"max_latency_ms": 4.0}, {}, "broken"),
        ({"max_latency_ms": 5.0}, {}, "cannot tell"),
    ],
)
def test_each_limit_is_exact(guards: dict[str, float], after: dict[str, Any], verdict: str) -> None:
    assert judge(make_pair(1.0, after=after), Guards(**guards)).verdict == verdict


@pytest.mark.parametrize(("source", "verdict"), [("ina", "broken"), ("meter", "cannot tell")])
def test_energy_is_judged_by_one_sensor_only(source: str, verdict: str) -> None:
    contrast = make_pair(
        1.0,
        before={"power": Power(source="ina", energy_mj=10.0)},
        after={"power": Power(source=source, energy_mj=12.0)},
    )
    assert judge(contrast, Guards(max_energy_growth=0.1)).verdict == verdict


def test_a_measurement_that_failed_breaks_every_check_unless_it_failed_before() -> None:
    def fail(run: str) -> Row:
        return make_rows((make_failure("a", "killed", run=run), None))[0]

    before = make_rows((make_measurement("a"), 5.0))[0]
    for first, verdict in ((before, "broken"), (fail("r1"), "kept")):
        contrast = contrast_rows(first, fail("r2"), "run", lambda _row: [], {})
        (judged,) = judge_limits(contrast.second, contrast, SLOWDOWN)
        assert (judged.limit, judged.verdict) == ("measured", verdict)
        assert "killed" in judged.text


def test_what_the_run_lacks_is_broken_unless_the_baseline_never_measured_it() -> None:
    for told, verdict in ((make_measurement("a"), "broken"), (make_failure("a", "x"), "kept")):
        found = judge_missing(describe_lonely(make_rows((told, None))[0]))
        assert found.verdict == verdict
        assert not found.is_worth_repeating


def test_what_the_baseline_lacks_is_judged_by_absolute_limits_alone() -> None:
    row = make_rows((make_measurement("a"), 5.0))[0]
    guards = Guards(max_slowdown=0.05, max_latency_ms=4.0)
    found = judge_present(describe_side(row, 0.98), None, describe_lonely(row), guards)
    assert [(one.limit, one.verdict) for one in found.judgements] == [("max-latency", "broken")]


def test_a_second_measurement_that_is_good_ends_the_alarm() -> None:
    first = judge(make_pair(1.1), SLOWDOWN)
    assert first.is_worth_repeating
    again = make_pair(1.0)
    found = judge_again(first, again.second, again, SLOWDOWN)
    assert found.verdict == "kept"
    assert "but not when measured again" in found.judgements[0].text


def test_a_second_measurement_that_is_as_bad_confirms_it() -> None:
    again = make_pair(1.12)
    found = judge_again(judge(make_pair(1.1), SLOWDOWN), again.second, again, SLOWDOWN)
    assert found.verdict == "broken"
    assert "and again" in found.judgements[0].text


@pytest.mark.parametrize(("low", "verdict"), [(1.06, "broken"), (1.04, "cannot tell")])
def test_where_the_second_cannot_tell_both_together_decide(low: float, verdict: str) -> None:
    first, again = judge(make_pair(1.1), SLOWDOWN), make_pair(1.1, wide=True)
    both = Difference(ratio=1.1, low=low, high=1.2, verdict="slower")
    assert judge_again(first, again.second, again, SLOWDOWN, both).verdict == verdict
    assert judge_again(first, again.second, again, SLOWDOWN).verdict == "cannot tell"


def test_a_second_measurement_raises_no_alarm_that_the_first_did_not() -> None:
    guards = Guards(max_slowdown=0.05, max_memory_bytes=90 * 2**20)
    again = make_pair(1.0, after={"memory_mb": Memory(peak=100.0)})
    found = judge_again(judge(make_pair(1.1), guards), again.second, again, guards)
    assert found.verdict == "kept"


def test_a_second_measurement_that_fails_proves_nothing_better() -> None:
    row = make_rows((make_failure("a", "killed", run="r2"), None))[0]
    found = judge_again(judge(make_pair(1.1), SLOWDOWN), describe_side(row, None), None, SLOWDOWN)
    assert found.verdict == "broken"
    assert "measured again, it failed (memory): killed" in found.judgements[0].text


def test_what_failed_once_and_ran_the_second_time_is_told_and_judged() -> None:
    before, after = make_rows((make_measurement("a"), 5.0), (make_failure("a", "killed", run="r2"), None))
    failed = contrast_rows(before, after, "run", lambda _row: [], {})
    for ratio, verdict in ((1.0, "cannot tell"), (1.2, "broken")):
        again = make_pair(ratio)
        found = judge_again(judge(failed, SLOWDOWN), again.second, again, SLOWDOWN)
        assert found.verdict == verdict
        assert found.judgements[0].limit == "measured"


@pytest.mark.parametrize("guards", [{"max_size_bytes": 1.0}, {"max_accuracy_drop": 0.5}])
def test_what_no_measurement_can_mend_is_not_measured_again(guards: dict[str, float]) -> None:
    contrast = make_pair(1.2, after={"accuracy_device": 0.5})
    assert not judge(contrast, Guards(max_slowdown=0.05, **guards)).is_worth_repeating
    assert judge(contrast, SLOWDOWN).is_worth_repeating
