"""Results in pandas: types that hold also where nothing was measured, and every raw sample."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from host.errors import UsageError
from host.ledger.flat import FIELDS
from host.ledger.frames import make_frame, read_results, read_samples
from host.ledger.store import Ledger
from host.report.parquet import write_parquet
from host.workspace import Workspace
from tests.made_results import make_failure, make_measurement, make_rounds, make_rows, make_run, make_sweep


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A ledger with two runs: a sweep, and later one measurement that failed."""
    workspace = Workspace(tmp_path)
    with Ledger.open(workspace.ledger_url) as ledger:
        ledger.start_run(make_run("r1"))
        for measurement, p50_ms in make_sweep():
            ledger.save(measurement, make_rounds(p50_ms))
        ledger.start_run(make_run("r2", minute=1))
        ledger.save(make_failure("f", "no memory", run="r2", flags=("busy", "drift")), [])
    return workspace.results / "boardbench.sqlite"


def test_the_columns_are_those_of_parquet_with_the_same_values(tmp_path: Path) -> None:
    rows = make_rows(*make_sweep(), (make_failure("f", "=x"), None))
    write_parquet(rows, tmp_path / "rows.parquet")
    stored, frame = pd.read_parquet(tmp_path / "rows.parquet"), make_frame(rows)
    assert list(frame.columns) == list(stored.columns) == [field.name for field in FIELDS]
    for name in ("variant", "latency_ms.p50", "speedup", "params", "error.message", "environment"):
        ours, theirs = (
            [None if pd.isna(value) else value for value in held[name]] for held in (frame, stored)
        )
        assert ours == theirs


def test_types_hold_also_where_nothing_was_measured(file: Path) -> None:
    for frame in (read_results(file), read_results(file, run="r2"), make_frame([])):
        kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
        assert (kinds["params"], kinds["threads"], kinds["latency_ms.n"]) == ("Int64",) * 3
        assert (kinds["latency_ms.p50"], kinds["power.energy_mj"]) == ("float64",) * 2
        assert (kinds["device"], kinds["variant"], kinds["status"]) == ("category",) * 3
        assert (kinds["is_emulated"], kinds["is_baseline"]) == ("boolean",) * 2
        assert isinstance(frame["started_at"].dtype, pd.DatetimeTZDtype)
        assert kinds["environment"].startswith("str")


def test_what_was_not_measured_is_missing_and_never_zero(file: Path) -> None:
    (row,) = read_results(file, status="failed").to_dict("records")
    assert np.isnan(row["latency_ms.p50"])
    assert np.isnan(row["power.energy_mj"])
    assert row["flags"] == ("busy", "drift")
    assert row["error.message"] == "no memory"
    assert json.loads(row["environment"]) == {"before": {"governor": "performance"}}


def test_names_and_runs_choose(file: Path) -> None:
    assert len(read_results(file)) == 4
    assert list(read_results(str(file), run="r1", variant="*50")["variant"]) == ["channel-50"]
    assert list(read_results(f"sqlite:///{file}", variant="int8")["speedup"].round(2)) == [2.5]
    assert read_results(file, device="nobody").empty
    with pytest.raises(UsageError, match="there is no run"):
        read_results(file, run="r3")


def test_without_a_name_it_is_the_ledger_of_the_workspace(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file.parent.parent / "devices.yaml").write_text("devices: {}\n")
    inside = file.parent.parent / "notebooks"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert len(read_results(run="r1")) == 3


def test_samples_are_all_there_round_by_round(file: Path) -> None:
    frame = read_samples(file, run="r1")
    assert list(frame.columns) == ["run", "task", "device", "variant", "round", "inference", "latency_ms"]
    assert len(frame) == 3 * 3 * 64
    held = frame[(frame["variant"] == "int8") & (frame["round"] == 1)]
    assert np.array_equal((held["latency_ms"] * 1e6).round().astype(int), make_rounds(2.0)[1])
    assert list(held["inference"]) == list(range(64))


def test_samples_of_nothing_have_the_same_types(file: Path) -> None:
    empty = read_samples(file, run="r2")
    assert empty.empty
    assert dict(empty.dtypes)["latency_ms"] == read_samples(file, run="r1").dtypes["latency_ms"]


def test_times_of_other_zones_are_the_same_moment() -> None:
    rows = make_rows(
        (make_measurement("a", started_at="2026-01-02T13:00:00+01:00"), 5.0), (make_measurement("b"), 5.0)
    )
    assert make_frame(rows)["started_at"].nunique() == 1
