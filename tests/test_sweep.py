"""What a run has left to measure, what it sets aside, and what that means for the exit code."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from host.cli.sweep import judge_outcome
from host.errors import BenchError, DeviceError, MeasurementsFailed, Unsuitable
from host.fleet.boards import Board
from host.ledger.records import RunRecord
from host.ledger.store import Ledger
from host.plan import Plan, plan_sweep
from host.specs.profile import Limits, parse_profile
from host.suitability import split_suitable
from host.sweep import (
    Outcome,
    Place,
    closing_run,
    count_missing,
    find_outstanding,
    hold_unsuitable,
    open_run,
    set_unfit_aside,
)
from host.workspace import Workspace
from tests.made_results import START, make_failure, make_measurement, make_unfit
from tests.test_boards import make_board, make_plan
from tests.test_report_artifacts import make_artifact
from tests.tiny_plans import Watched, make_recipe


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


PRUNE = {"granularity": "channel", "sparsity": 0.7}


def plan_three(*devices: str) -> Plan:
    """Dense, pruned and quantized variants of a model, each with two settings."""
    variants = [{}, {"prune": PRUNE}, {"quantize": {"scheme": "static-int8"}}]
    profile = parse_profile(
        {"name": "p", "model": "tiny", "variants": variants, "runtimes": [{"threads": [1, 2]}]}
    )
    return plan_sweep(profile, [make_recipe()], devices, {"tiny": ""})


def name_board(name: str, max_opset: int = 21) -> Board:
    board = make_board(max_opset)
    return replace(board, device=board.device.model_copy(update={"name": name}))


def set_aside(
    folder: Path, *, measure_unfit: bool = False
) -> tuple[list[str], list[tuple[str, str]], Watched]:
    """Labels of the tasks to measure, the ledger's rows of the others, and what was said; dense is worst."""
    plan, progress = plan_three("a", "b"), Watched()
    accuracies = dict(zip((item.id for item in plan.variants), (0.5, 0.831, 0.9), strict=True))
    artifacts = {name: make_artifact(name, accuracy=accuracy) for name, accuracy in accuracies.items()}
    with Ledger.open(f"sqlite:///{folder}/results.sqlite") as ledger:
        place = Place(Workspace(folder), ledger, progress)
        record = open_run(plan, [], place, limits=Limits(min_accuracy=0.9), measure_unfit=measure_unfit)
        boards = {name: name_board(name) for name in ("a", "b")}
        fit = set_unfit_aside(record, plan.tasks, boards, artifacts, place)
        assert ledger.find_run() == record
        found = [(row.device, row.variant) for row in ledger.measurements() if row.status == "unfit"]
        assert find_outstanding(record, ledger).tasks == fit
        asked = record.model_copy(update={"measures_unfit": True})
        assert find_outstanding(asked, ledger).tasks == list(plan.tasks)
    return [task.label for task in fit], found, progress


def test_what_is_not_accurate_enough_is_saved_said_once_and_not_measured(tmp_path: Path) -> None:
    labels, found, progress = set_aside(tmp_path)
    assert labels == ["dense", "dense", "int8", "int8"] * 2
    assert found == [("a", "channel-l1-70")] * 2 + [("b", "channel-l1-70")] * 2
    assert progress.said[1:] == [
        "channel-l1-70: unfit, 83.1 % on the host is below min_accuracy 90 %; "
        "not measured (--measure-unfit measures it)"
    ]


def test_what_is_not_accurate_enough_is_measured_where_asked(tmp_path: Path) -> None:
    labels, found, progress = set_aside(tmp_path, measure_unfit=True)
    assert labels == ["dense", "dense", "channel-l1-70", "channel-l1-70", "int8", "int8"] * 2
    assert found == []
    assert not any("unfit" in said for said in progress.said)


def test_a_run_whose_rest_is_unfit_is_complete_unless_that_is_asked_for(tmp_path: Path) -> None:
    plan = make_plan(threads=[1, 2])
    first, second = (task.id for task in plan.tasks)
    record = RunRecord(id="r1", profile="p", plan=plan.model_dump(mode="json"), started_at=START)
    with Ledger.open(f"sqlite:///{tmp_path}/results.sqlite") as ledger:
        ledger.start_run(record)
        ledger.save(make_measurement(first), [])
        ledger.save(make_unfit(second), [])
        assert find_outstanding(record, ledger).tasks == []
        asked = record.model_copy(update={"measures_unfit": True})
        left = find_outstanding(asked, ledger)
        assert ([task.id for task in left.tasks], left.attempt) == ([second], "")
        ledger.save(make_measurement(second), [])
        assert find_outstanding(asked, ledger).tasks == []


def test_one_unsuitable_board_holds_up_only_itself() -> None:
    plan, progress = plan_three("old", "new"), Watched()
    boards, misfits = split_suitable(
        plan, plan.tasks, {"old": name_board("old", max_opset=13), "new": name_board("new")}
    )
    assert (list(boards), list(misfits)) == (["new"], ["old"])
    hold_unsuitable(misfits, boards, progress)
    (said,) = progress.said
    assert said.startswith("old cannot run what it is asked to run:")
    assert said.endswith("the other devices go on")
    with pytest.raises(Unsuitable, match="export it with opset 13 or older"):
        hold_unsuitable(misfits, {}, progress)


def test_a_run_that_no_board_can_run_is_not_recorded(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path}/results.sqlite") as ledger:
        record = open_run(make_plan(), [], Place(Workspace(tmp_path), ledger, Watched()))
        with pytest.raises(Unsuitable), closing_run(record.id, ledger):
            raise Unsuitable("pi4 cannot run what it is asked to run")
        assert ledger.runs() == []

        kept = open_run(make_plan(), [], Place(Workspace(tmp_path), ledger, Watched()))
        with pytest.raises(DeviceError), closing_run(kept.id, ledger):
            raise DeviceError("pi4 is down")
        assert [(run.id, run.status) for run in ledger.runs()] == [(kept.id, "failed")]


def come_to(failed: int = 0, unfit: int = 0, **errors: BenchError) -> Outcome:
    return Outcome("r1", measured=3, failed=failed, unfit=unfit, errors=errors)


def test_it_is_told_how_much_of_each_device_is_missing_and_why() -> None:
    plan = plan_three("pi4", "orin")
    found = [make_measurement(task.id) for task in plan.tasks_of("pi4")[:4]]
    missing = count_missing(plan, ["pi4"], found)
    assert missing == {"pi4": (2, 6)}
    outcome = replace(come_to(pi4=DeviceError("pi4: no sign of it for 300 s")), missing=missing)
    with pytest.raises(DeviceError) as caught:
        judge_outcome(outcome)
    assert "pi4: 2 of 6 measurements are missing\npi4: no sign of it for 300 s" in caught.value.message
    assert "bench sweep --resume r1" in (caught.value.hint or "")


def test_a_run_whose_boards_are_all_out_of_reach_says_how_to_go_on(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path}/results.sqlite") as ledger:
        record = open_run(make_plan(), [], Place(Workspace(tmp_path), ledger, Watched()))
        with pytest.raises(DeviceError) as caught, closing_run(record.id, ledger):
            raise DeviceError("pi4 is down", "Check its power.")
    assert caught.value.hint == f"Check its power. Then: bench sweep --resume {record.id}"


def test_unfit_variants_are_no_failure() -> None:
    judge_outcome(come_to(unfit=2))


@pytest.mark.parametrize(
    ("outcome", "kind", "said"),
    [
        (come_to(old=Unsuitable("old lacks it")), MeasurementsFailed, "1 of the devices cannot run"),
        (come_to(2, old=Unsuitable("old lacks it")), MeasurementsFailed, "2 of 5 measurements failed"),
        (come_to(2), MeasurementsFailed, "2 of 5 measurements failed"),
        (come_to(down=DeviceError("it is down")), DeviceError, "it is down"),
        (
            come_to(down=DeviceError("it is down"), old=Unsuitable("old lacks it")),
            DeviceError,
            "old lacks it",
        ),
    ],
)
def test_a_device_that_cannot_run_it_exits_with_4_and_one_that_is_lost_with_3(
    outcome: Outcome, kind: type[BenchError], said: str
) -> None:
    with pytest.raises(kind, match=said) as caught:
        judge_outcome(outcome)
    assert all(error.message in str(caught.value) for error in outcome.errors.values())
    assert "bench sweep --resume r1" in str(caught.value)
