"""`bench check` on an emulated board: what breaks a limit is really measured once more."""

from __future__ import annotations

import json

import pytest

from tests.bench_command import bench, run_bench
from tests.main_job import Swept

pytestmark = pytest.mark.slow


def test_what_breaks_a_limit_is_measured_again_and_stays_out_of_sight(swept: Swept) -> None:
    sweep = ("sweep", "--profile", "tiny", "--variant", "dense", "--format", "json")
    (row,) = json.loads(bench(swept.root, *sweep))
    before = swept.rows[0]["run"]
    limits = ("--max-slowdown", "1000%", "--max-memory", "1MB")
    ended = run_bench(swept.root, "check", "--baseline", before, *limits, "--format", "json")
    assert ended.code == 1, ended.err
    told = json.loads(ended.out)
    assert (told["baseline_run"], told["run"]) == (before, row["run"])
    dense, *missing = told["checked"]
    assert dense["again"]["run"] == told["again"] != row["run"]
    assert dense["again"]["task"] == dense["second"]["task"]
    assert [one["limit"] for one in dense["judgements"] if one["verdict"] == "broken"] == ["max-memory"]
    assert [one["again"] for one in missing] == [None, None]
    assert {one["run"] for one in json.loads(bench(swept.root, "results", "--format", "json"))} == {
        row["run"]
    }
