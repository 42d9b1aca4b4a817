"""What an older release wrote, read as if it were new: a copy for the time of one command.

The ledger itself is altered by the first command that writes; until then whoever wrote it can read it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection, Engine, create_engine, insert, select

from host.ledger.database import writing
from host.ledger.migrating import create_schema
from host.ledger.records import figure_values, plan_values, read_old_run, run_values
from host.ledger.schema import figures, measurements, plans, runs


class OldCopy:
    """The runs and measurements of an older ledger, in a file of the newest schema that `close` removes."""

    def __init__(self, source: Engine) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="boardbench-", ignore_cleanup_errors=True)
        self.engine = create_engine(f"sqlite:///{Path(self._folder.name) / 'copy.sqlite'}")
        try:
            with source.connect() as old, writing(self.engine) as new:
                create_schema(new)
                for row in old.execute(select(runs)).all():
                    order = _copy_run(row, new)
                    _copy_measurements(row.id, order, old, new)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.engine.dispose()
        self._folder.cleanup()


def _copy_run(row: Any, new: Connection) -> dict[str, int]:
    """Copy one run; where each task of its plan stands."""
    run = read_old_run(row)
    new.execute(insert(runs).values(run_values(run)))
    new.execute(insert(plans).values(plan_values(run)))
    return run.task_order


def _copy_measurements(run: str, order: dict[str, int], old: Connection, new: Connection) -> None:
    found = [row._asdict() for row in old.execute(select(measurements).where(measurements.c.run == run))]
    described = []
    for row in found:
        held, summary = from_json(row["record"]), from_json(row["summary"])
        values = figure_values(held, summary, order.get(row["task"]))
        described.append(values | {"statistics": row["statistics"]})
    if found:
        new.execute(insert(measurements), found)
        new.execute(insert(figures), described)
