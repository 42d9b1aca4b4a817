"""The main job through the emulated board: real training, real SSH, real measuring."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bench_command import bench, run_bench, share_cache, start_bench, wait_for_words
from tests.main_job import Swept, main_job
from tests.tiny_workspace import PROFILE, make_tiny_workspace

pytestmark = pytest.mark.slow


@main_job
def test_the_emulated_board_does_the_main_job(swept: Swept, step: Callable[[Swept], None]) -> None:
    step(swept)


def test_an_emulated_board_uses_the_cores_that_it_was_given(swept: Swept) -> None:
    assert {row["threads"] for row in swept.rows} == {1}


def test_a_second_sweep_builds_nothing(swept: Swept) -> None:
    files = {path: path.stat().st_mtime_ns for path in (swept.root / ".boardbench/cache").rglob("*.onnx")}
    assert files
    again = json.loads(bench(swept.root, "sweep", "--profile", "tiny", "--format", "json"))
    assert [row["variant_id"] for row in again] == [row["variant_id"] for row in swept.rows]
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_a_dry_run_starts_and_writes_nothing(tmp_path: Path) -> None:
    root = make_tiny_workspace(tmp_path)
    before = sorted(path.relative_to(root) for path in root.rglob("*"))
    told = json.loads(bench(root, "sweep", "--profile", "tiny", "--dry-run", "--format", "json"))
    assert [variant["is_cached"] for variant in told["variants"]] == [False, False, False]
    assert told["epochs_to_train"] == 7
    assert told["devices"][0]["tasks"] == 3
    assert (
        sorted(path.relative_to(root) for path in root.rglob("*") if "__pycache__" not in str(path)) == before
    )


def test_a_variant_below_min_accuracy_takes_no_time_of_the_board_unless_asked(swept: Swept) -> None:
    limits = "limits: {min_accuracy: 1.0}\n"
    (swept.root / "profiles" / "strict.yaml").write_text(
        PROFILE.replace("name: tiny", "name: strict") + limits
    )
    ended = run_bench(swept.root, "sweep", "--profile", "strict", "--format", "json")
    assert ended.code == 0, ended.err
    rows = json.loads(ended.out)
    assert [row["status"] for row in rows] == ["ok", "unfit", "unfit"]
    assert ended.err.count("not measured (--measure-unfit measures it)") == 2
    assert [row["latency_ms"]["n"] for row in rows[1:]] == [0, 0]
    assert all("below min_accuracy 100 %" in row["error"]["message"] for row in rows[1:])
    assert "2 unfit, not measured:" in bench(swept.root, "results", "--run", rows[0]["run"])

    resume = ("sweep", "--resume", rows[0]["run"])
    assert "complete" in bench(swept.root, *resume, code=2)
    again = json.loads(bench(swept.root, *resume, "--measure-unfit", "--format", "json"))
    assert [row["status"] for row in again] == ["ok"] * 3
    assert again[0] == rows[0]


@pytest.fixture
def fresh_root(tmp_path: Path) -> Iterator[Path]:
    """A workspace whose emulated board does not outlive the test."""
    root = make_tiny_workspace(tmp_path)
    yield root
    bench(root, "devices", "emulate", "x86-emulated", "down")


@pytest.mark.parametrize(
    ("stage", "cached"),
    [
        ("run 2", ("layers", "builds")),
        ("packages for", ("builds",)),
        ("packing the packages", ("builds",)),
        ("sending", ("layers", "builds")),
        ("unpacking", ("layers", "builds")),
        ("training", ("layers",)),
    ],
)
def test_ctrl_c_before_anything_is_measured_can_be_resumed(
    swept: Swept, fresh_root: Path, stage: str, cached: tuple[str, ...]
) -> None:
    share_cache(swept.root, fresh_root, "agents", *cached)
    run = interrupt_sweep(fresh_root, stage)
    rows = json.loads(bench(fresh_root, "sweep", "--resume", run, "--format", "json"))
    assert {row["run"] for row in rows} == {run}
    assert [row["status"] for row in rows] == ["ok"] * 3


def interrupt_sweep(root: Path, stage: str) -> str:
    """Start a sweep, send Ctrl-C once it has begun a stage, and return the id of the run."""
    with start_bench(root, "sweep", "--profile", "tiny") as process:
        said = wait_for_words(process, stage)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        said += process.stderr.read()
    assert process.returncode == 130, said
    return said.rsplit("--resume ", 1)[1].split()[0]
