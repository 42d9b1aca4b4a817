"""Measuring some tasks of a run once more, in a run of their own that is no newest run to anybody."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import ValidationError

from host.errors import UsageError
from host.ledger.records import RunRecord
from host.plan import Plan
from host.sweep import Place, carry_out, find_chosen, open_run


def measure_again(run: RunRecord, tasks: Collection[str], place: Place) -> str:
    """The id of the run that measured them, on the devices that could be used.

    Raises BenchError where there is none, or where the run does not say what it measured.
    """
    plan = narrow_to_tasks(run, tasks)
    count = len(plan.tasks)
    place.progress.say(f"measuring {count} task{'' if count == 1 else 's'} again before anything fails")
    record = open_run(
        plan,
        find_chosen(run, plan.tasks),
        place,
        limits=run.limits,
        measure_unfit=run.measures_unfit,
        again_of=run.id,
    )
    return carry_out(record, place).run


def narrow_to_tasks(run: RunRecord, wanted: Collection[str]) -> Plan:
    """The plan of a run with only these tasks. Raises UsageError where its plan does not hold them."""
    try:
        plan = Plan.model_validate(run.plan)
    except ValidationError as error:
        raise UsageError(f"run {run.id} does not say how it was measured") from error
    kept = tuple(task for task in plan.tasks if task.id in wanted)
    if not kept:
        raise UsageError(f"the plan of run {run.id} does not hold what failed")
    return plan.model_copy(update={"tasks": kept})
