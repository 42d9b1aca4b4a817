"""The rows of a measurement are written: once for each task of a run, whoever else writes meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

from pydantic_core import from_json
from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from host.ledger.records import (
    figure_values,
    latency_figures,
    measurement_values,
    read_order,
    round_values,
)
from host.ledger.schema import figures, measurements, plans, samples
from host.ledger.statistics import STATISTICS_VERSION, LatencySummary, Samples

Key = tuple[str, str]
"""A run and a task of it."""


class Orders:
    """Where tasks stand in the plans of their runs; the plan of the run that is being saved is read once."""

    def __init__(self) -> None:
        self._last: tuple[str, dict[str, int]] = ("", {})  # set at once: threads share it

    def find(self, connection: Connection, run: str) -> Mapping[str, int]:
        known, order = self._last
        if run != known:
            plan = connection.scalar(select(plans.c.plan).where(plans.c.run == run))
            order = read_order(from_json(plan)) if plan else {}
            self._last = (run if plan else "", order)
        return order


class Rows(NamedTuple):
    """What a measurement becomes in each table; all that can be is made before the database is locked."""

    measurement: dict[str, Any]
    figures: dict[str, Any]
    samples: list[dict[str, Any]]


def make_rows(
    held: Mapping[str, Any], record: str, rounds: Sequence[Samples], summary: LatencySummary
) -> Rows:
    """The rows of what is `held`, whose JSON text is `record`."""
    told = summary.model_dump(mode="json")
    return Rows(
        measurement_values(held, record, told),
        figure_values(held, told, None),
        round_values(held["run"], held["task"], rounds),
    )


SAME = (measurements.c.run == bindparam("the_run")) & (measurements.c.task == bindparam("the_task"))
FORGET = delete(measurements).where(SAME & (measurements.c.status != "ok"))
FIND = select(measurements.c.task).where(SAME)


def store_rows(connection: Connection, rows: Rows, order: Mapping[str, int]) -> bool:
    """Store a measurement; False where its task has a result that stays.

    Raises IntegrityError where the ledger does not hold its run.
    """
    task = rows.measurement["task"]
    same = {"the_run": rows.measurement["run"], "the_task": task}
    connection.execute(FORGET, same)
    if connection.execute(FIND, same).first() is not None:
        return False
    has_one_lock = connection.dialect.name == "sqlite"
    try:
        with nullcontext() if has_one_lock else connection.begin_nested():
            connection.execute(insert(measurements), rows.measurement)
    except IntegrityError:
        if connection.execute(FIND, same).first() is not None:
            return False  # another writer was faster
        raise
    connection.execute(insert(figures), rows.figures | {"position": order.get(task)})
    if rows.samples:
        connection.execute(insert(samples), rows.samples)
    return True


def replace_summaries(connection: Connection, renewed: Mapping[Key, LatencySummary]) -> None:
    """Write summaries that were computed anew, to the measurements and to their figures."""
    for (run, task), summary in renewed.items():
        told = summary.model_dump(mode="json")
        changes = (
            (measurements, {"summary": summary.model_dump_json()}),
            (figures, latency_figures(told)),
        )
        for table, values in changes:
            same = (table.c.run == run) & (table.c.task == task)
            connection.execute(update(table).where(same).values(values | {"statistics": STATISTICS_VERSION}))
