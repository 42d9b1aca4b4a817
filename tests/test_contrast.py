"""Which measurements of one run were measured in turns, so that their rounds are paired."""

from __future__ import annotations

from typing import Any

import pytest

from host.ledger.contrast import Contrast, are_interleaved, contrast_rows
from host.ledger.rows import Row
from tests.made_results import make_measurement, make_rounds, make_rows

DAY = 86400.0


def make_one(task: str, began: float | None, ended: float | None, **changes: Any) -> Row:
    environment = {"before": {"time": began}, "after": {"time": ended}}
    return make_rows((make_measurement(task, **{"environment": environment} | changes), 5.0))[0]


FIRST = make_one("a", 100.0, 160.0)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (make_one("b", 103.0, 163.0), True),
        (make_one("b", 100.0, 160.0), True),
        (make_one("b", 130.0, 190.0), True),
        (make_one("b", 161.0, 220.0), False),  # the next block
        (make_one("b", 159.0, 220.0), False),
        (make_one("b", 100.0 + DAY, 160.0 + DAY), False),  # resumed
        (make_one("b", 110.0, 130.0 + DAY), False),  # begun beside it, ended when resumed
        (make_one("b", None, 160.0), False),
        (make_one("b", 160.0, 100.0), False),  # the board's clock was set back
        (make_one("b", 103.0, 163.0, run="r2"), False),
        (make_one("b", 103.0, 163.0, device="pi5"), False),
        (make_one("b", 103.0, 163.0, scenario="sustained"), False),
        (make_one("b", 0, 0, environment={}), False),
        (make_one("b", 0, 0, environment={"before": "x", "after": [1]}), False),
    ],
)
def test_rounds_were_interleaved_where_their_spans_overlap(second: Row, expected: bool) -> None:
    assert are_interleaved(FIRST, second) is are_interleaved(second, FIRST) is expected


def test_three_rounds_in_the_most_unequal_order_were_interleaved() -> None:
    """The first and the last of ten in the first round, and the other way round in the last one."""
    first = make_one("a", 0.0, 10 + 10 + 1)
    second = make_one("b", 9.0, 30.0)
    assert are_interleaved(first, second)


def contrast(began: float) -> Contrast:
    rows = {"a": FIRST, "b": make_one("b", began, began + 60.0)}
    rounds = {"a": make_rounds(5.0, 5, 200), "b": make_rounds(5.0 * 1.017, 5, 200)}
    return contrast_rows(rows["a"], rows["b"], "variant", lambda row: rounds[row["task"]], {})


def test_what_was_resumed_is_compared_as_between_runs() -> None:
    assert contrast(103.0).verdict == "slower"
    assert contrast(100.0 + DAY).verdict == "same"
