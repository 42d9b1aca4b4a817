"""Baselines: names of runs that later ones are compared with."""

from __future__ import annotations

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from host.errors import LedgerError, UsageError
from host.ledger.records import Baseline, RunRecord, baseline_values, make_baseline
from host.ledger.schema import baselines
from host.ledger.store import Ledger
from host.workspace import unknown_name


def save_baseline(ledger: Ledger, name: str, run_id: str, *, replace: bool = False) -> Baseline:
    """Name a run. Raises UsageError where another one has the name, unless it is to `replace` that."""
    baseline = make_baseline(name, run_id)
    with ledger.access.writing() as connection:
        held = connection.scalar(select(baselines.c.run).where(baselines.c.name == name))
        if held is not None and held != run_id and not replace:
            raise UsageError(f"there is a baseline {name!r} already: run {held}", "--replace replaces it.")
        connection.execute(delete(baselines).where(baselines.c.name == name))
        try:
            connection.execute(insert(baselines).values(baseline_values(baseline)))
        except IntegrityError as error:
            raise LedgerError(f"{ledger.where} holds no run {run_id!r}") from error
    return baseline


def find_baseline(ledger: Ledger, name: str) -> RunRecord:
    """The run that has this name. Raises UsageError that names the nearest baselines where none has."""
    known = {baseline.name: baseline.run for baseline in list_baselines(ledger)}
    if name not in known:
        listed = f"There is {', '.join(known)}." if known else "`bench baseline save NAME` names a run."
        raise unknown_name("baseline", name, known, listed)
    return ledger.find_run(known[name])


def list_baselines(ledger: Ledger) -> list[Baseline]:
    """Every baseline, by name."""
    query = select(baselines.c.record).order_by(baselines.c.name)
    with ledger.access.reading() as connection:
        rows = [] if connection is None else list(connection.execute(query))
    return [Baseline.model_validate_json(row.record) for row in rows]


def remove_baseline(ledger: Ledger, name: str) -> None:
    """Take a name away; its run stays. Raises UsageError where no run has it."""
    find_baseline(ledger, name)
    with ledger.access.writing() as connection:
        connection.execute(delete(baselines).where(baselines.c.name == name))
