"""Results for notebooks: a pandas DataFrame of measurements, and one of raw samples.

from host.ledger.frames import read_results, read_samples

frame = read_results(device="pi4", status="ok")
frame.groupby("variant", observed=True)["latency_ms.p50"].min()
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from host.ledger.choosing import Choice
from host.ledger.flat import FIELDS, Field, flatten_row
from host.ledger.rows import Row, result_rows, stream_rows
from host.ledger.store import Ledger
from host.workspace import Workspace, find_root

CATEGORIES = (
    *("run", "device", "board", "model", "variant", "variant_id", "runtime", "provider", "precision"),
    *("scenario", "runtime_version", "power.source", "power.sampler", "status", "error.kind"),
)
"""Columns of few different texts."""

NS_PER_MS = 1e6


def read_results(
    ledger: str | Path | None = None,
    *,
    run: str | None = None,
    device: str | None = None,
    model: str | None = None,
    variant: str | None = None,
    status: str | None = None,
) -> pd.DataFrame:
    """A line for each measurement of all runs, or of one; its columns are those of CSV and Parquet.

    `ledger` is a database's URL or the file of one; without it, that of the workspace around the current
    folder. `run` is an id, its beginning or `latest`; `variant` is a pattern. Whole numbers are Int64,
    truths boolean, real numbers float64 (NaN where nothing was measured), names categories, `started_at` a
    time in UTC and `flags` tuples; what is nested is JSON text. Raises UsageError for a run that does not
    exist, LedgerError for a database that cannot be used.
    """
    choice = Choice(devices=_one(device), models=_one(model), variants=_one(variant), statuses=_one(status))
    with _open(ledger) as opened:
        run_id = None if run is None else opened.find_run(run).id
        return make_frame(stream_rows(opened, run_id, choice.selection))


def read_samples(
    ledger: str | Path | None = None, *, run: str | None = None, variant: str | None = None
) -> pd.DataFrame:
    """The raw latencies of a run in ms, a line for each; `run` and `variant` as in `read_results`.

    Columns: run, task, device, variant, round and inference (both from 0, in the order of measuring),
    latency_ms. Without `run`, those of the newest run that measured anything: all samples of a ledger may
    be more than fits into memory.
    """
    choice = Choice(variants=_one(variant), statuses=("ok",))
    with _open(ledger) as opened:
        run_id = (opened.find_measured_run() if run is None else opened.find_run(run)).id
        rows = result_rows(opened, run_id, choice.selection)
        parts = [part for row in rows for part in _list_rounds(opened, row)]
    frame = pd.concat(parts, ignore_index=True) if parts else _empty_samples()
    return frame.astype(dict.fromkeys(("run", "task", "device", "variant"), "category"))


def make_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The frame of rows as `result_rows` gives them; also where there are none, with the same types."""
    flat = [flatten_row(row) | {"flags": tuple(row["flags"])} for row in rows]
    columns = {field.name: _make_column(field, [line[field.name] for line in flat]) for field in FIELDS}
    return pd.DataFrame(columns)


def _make_column(field: Field, values: list[Any]) -> pd.Series[Any]:
    if field.name == "flags":
        return pd.Series(values, dtype="object")
    if field.name == "started_at":
        return pd.Series(pd.to_datetime(values, utc=True, format="ISO8601"))
    kinds = {"whole": "Int64", "real": "float64", "truth": "boolean", "text": "string", "json": "string"}
    if field.name in CATEGORIES:
        return pd.Series(values, dtype="string").astype("category")
    return pd.Series(values, dtype=kinds[field.kind])


def _list_rounds(ledger: Ledger, row: Row) -> Iterator[pd.DataFrame]:
    """The samples of one measurement, a frame for each round."""
    for number, samples in enumerate(ledger.samples(row["run"], row["task"])):
        yield pd.DataFrame(
            {
                **{name: row[name] for name in ("run", "task", "device", "variant")},
                "round": number,
                "inference": np.arange(len(samples)),
                "latency_ms": samples / NS_PER_MS,
            }
        )


def _empty_samples() -> pd.DataFrame:
    texts = {name: pd.Series(dtype="string") for name in ("run", "task", "device", "variant")}
    counts = {name: pd.Series(dtype="int64") for name in ("round", "inference")}
    return pd.DataFrame({**texts, **counts, "latency_ms": pd.Series(dtype="float64")})


def _one(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)


def _open(ledger: str | Path | None) -> Ledger:
    """The ledger at a URL or in a file, else that of the workspace."""
    if ledger is None:
        return Ledger.open(Workspace(find_root(Path.cwd())).ledger_url)
    return Ledger.open(f"sqlite:///{ledger}" if isinstance(ledger, Path) or "://" not in ledger else ledger)
