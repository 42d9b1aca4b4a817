"""Which measurements are meant, and the queries that find them: the database selects and sorts, not we."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, case, false, func, or_, select

from host.ledger.records import Figures, write_time
from host.ledger.schema import figures, measurements, plans, runs
from host.specs.record import Record


class Selection(Record):
    """What a measurement must be, in every field that is not empty; any of several values will do.

    `variants` may be patterns of a shell (`int8*`). `since` is when it was measured at the earliest; `limit`
    takes so many of the first in the order of results.
    """

    runs: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    is_baseline: bool | None = None
    since: datetime | None = None
    limit: int | None = None

    @property
    def of_baselines(self) -> Selection:
        """The dense baselines that those which are selected are compared with."""
        return Selection(
            runs=self.runs, devices=self.devices, models=self.models, statuses=("ok",), is_baseline=True
        )


EVERYTHING = Selection()

NEWEST_FIRST = (runs.c.started_at.desc(), runs.c.id.desc())
AS_PLANNED = (figures.c.position.is_(None), figures.c.position, figures.c.task)
"""What no plan names comes last."""


def select_entries(run_id: str | None, where: Selection) -> Select[Any]:
    """Records and summaries, runs newest first, tasks as planned."""
    table = measurements
    same = (table.c.run == figures.c.run) & (table.c.task == figures.c.task)
    columns = (table.c.run, table.c.task, table.c.record, table.c.statistics, table.c.summary)
    query = select(*columns).select_from(runs).join(figures, figures.c.run == runs.c.id).join(table, same)
    return _narrow(query, run_id, where)


def select_figures(run_id: str | None, where: Selection) -> Select[Any]:
    """The columns of `Figures`, and `statistics`, in the same order."""
    columns = [figures.c[name] for name in Figures._fields]
    query = select(*columns, figures.c.statistics).join(runs, figures.c.run == runs.c.id)
    return _narrow(query, run_id, where)


def _narrow(query: Select[Any], run_id: str | None, where: Selection) -> Select[Any]:
    chosen = query.where(*_find_conditions(run_id, where)).order_by(*NEWEST_FIRST, *AS_PLANNED)
    return chosen if where.limit is None else chosen.limit(where.limit)


def _find_conditions(run_id: str | None, where: Selection) -> list[ColumnElement[bool]]:
    asked: list[tuple[Any, Sequence[str]]] = [
        (figures.c.run, where.runs),
        (figures.c.device, where.devices),
        (figures.c.model, where.models),
        (figures.c.status, where.statuses),
        (figures.c.runtime, where.runtimes),
        (figures.c.precision, where.precisions),
    ]
    conditions: list[ColumnElement[bool]] = [column.in_(values) for column, values in asked if values]
    if run_id is not None:
        conditions.append(figures.c.run == run_id)
    if where.variants:
        conditions.append(or_(*(_match(figures.c.variant, one) for one in where.variants)))
    if where.is_baseline is not None:
        conditions.append(figures.c.is_baseline.is_(where.is_baseline))
    if where.since is not None:
        conditions.append(figures.c.started_at >= write_time(where.since))
    return conditions


def _match(column: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
    """Whether a text is what a pattern of a shell means; an index helps where it is no pattern."""
    if not any(sign in pattern for sign in "*?["):
        return column == pattern
    parts = re.split(r"(\*|\?|\[[^]]+\])", pattern)
    told = f"^{''.join(_translate(part) for part in parts)}$"
    try:
        re.compile(told)
    except re.error:  # such as [z-a], which matches nothing
        return false()
    return column.regexp_match(told)


def _translate(part: str) -> str:
    """A part of a pattern as databases and Python both read it."""
    if part.startswith("[") and part.endswith("]"):
        negated, told = ("^", part[2:-1]) if part[1] == "!" else ("", part[1:-1])
        escaped = re.sub(r"([][^\\])", r"\\\1", told)
        return f"[{negated}{escaped}]"
    return {"*": ".*", "?": "."}.get(part) or re.escape(part)


def select_runs() -> Select[Any]:
    """Whole runs, the newest first."""
    columns = (runs.c.status, runs.c.finished_at, runs.c.record, plans.c.plan)
    return select(*columns).join(plans, plans.c.run == runs.c.id).order_by(*NEWEST_FIRST)


FIRST_HAND = runs.c.record.not_like('%"again_of":"%')
"""Holds for runs that do not measure again what another one has."""


def select_run_ids() -> Select[Any]:
    """The ids of runs, the newest first."""
    return select(runs.c.id).order_by(*NEWEST_FIRST)


def select_run_lines() -> Select[Any]:
    """What `RunLine` tells, the newest run first; no plan is read."""
    counts = [
        func.coalesce(func.sum(case((figures.c.status == status, 1), else_=0)), 0).label(name)
        for status, name in (("ok", "measured"), ("failed", "failed"), ("unfit", "unfit"))
    ]
    told = select(figures.c.run, *counts).group_by(figures.c.run).subquery()
    columns = (runs.c.status, runs.c.finished_at, runs.c.record, plans.c.tasks)
    found = [func.coalesce(told.c[name], 0).label(name) for name in ("measured", "failed", "unfit")]
    query = select(*columns, *found).join(plans, plans.c.run == runs.c.id)
    return query.outerjoin(told, told.c.run == runs.c.id).order_by(*NEWEST_FIRST)
