"""What a run has left to measure, as the ledger and the plan tell it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from host.ledger.records import RunRecord
from host.ledger.store import Ledger
from host.sweep import find_outstanding
from tests.made_results import START, make_failure, make_measurement
from tests.test_boards import make_plan


def test_failed_tasks_are_left_once_nothing_else_is_and_every_try_is_another_one(tmp_path: Path) -> None:
    plan = make_plan(threads=[1, 2])
    first, second = (task.id for task in plan.tasks)
    record = RunRecord(id="r1", profile="p", plan=plan.model_dump(mode="json"), started_at=START)
    with Ledger.open(f"sqlite:///{tmp_path}/results.sqlite") as ledger:
        ledger.start_run(record)
        left = find_outstanding(record, ledger)
        assert ([task.id for task in left.tasks], left.attempt) == ([first, second], "")

        ledger.save(make_failure(first, "killed"), [])
        left = find_outstanding(record, ledger)
        assert ([task.id for task in left.tasks], left.attempt) == ([second], "")

        ledger.save(make_measurement(second), [])
        once = find_outstanding(record, ledger)
        assert [task.id for task in once.tasks] == [first]
        assert once.attempt
        assert find_outstanding(record, ledger) == once  # an interrupted try is gone on with

        ledger.save(make_failure(first, "killed", started_at=START + timedelta(minutes=1)), [])
        again = find_outstanding(record, ledger)
        assert [task.id for task in again.tasks] == [first]
        assert again.attempt not in ("", once.attempt)

        ledger.save(make_measurement(first), [])
        assert find_outstanding(record, ledger).tasks == []
