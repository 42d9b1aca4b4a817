"""The main job through the emulated board: real training, real SSH, real measuring."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_workspace import make_tiny_workspace

pytestmark = pytest.mark.slow

KEYS = {
    "run", "device", "board", "is_emulated", "model", "variant", "variant_id", "runtime", "provider",
    "precision", "threads", "batch", "sparsity", "params", "params_nonzero", "macs", "file_bytes",
    "accuracy_host", "accuracy_device", "agreement", "latency_ms", "throughput_ips", "load_ms",
    "first_inference_ms", "speedup", "memory_mb", "power", "environment", "flags", "status", "error",
    "started_at",
}  # fmt: skip
LATENCY = {"n", "rounds", "min", "mean", "p50", "p50_ci", "p90", "p95", "p99", "p999"}


def bench(root: Path, *words: str, code: int = 0, timeout: float = 300) -> str:
    """Run `bench` as a user does; what it printed on standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "host.cli", *words],
        cwd=root,
        env=environment(root),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == code, (
        f"bench {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout if code == 0 else done.stdout + done.stderr


def environment(root: Path) -> dict[str, str]:
    here = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": here, "COLUMNS": "200", "BENCH_LEDGER": ""}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = make_tiny_workspace(tmp_path_factory.mktemp("workspace"))
    yield root
    bench(root, "devices", "emulate", "x86-emulated", "down")


@pytest.fixture(scope="module")
def rows(workspace: Path) -> list[dict[str, Any]]:
    """What the first sweep of the workspace measured."""
    found: list[dict[str, Any]] = json.loads(
        bench(workspace, "sweep", "--profile", "tiny", "--format", "json")
    )
    return found


def test_a_sweep_measures_every_variant(rows: list[dict[str, Any]]) -> None:
    assert [row["variant"] for row in rows] == ["dense", "channel-l2-50", "channel-l2-50+int8"]
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["is_emulated"] for row in rows} == {True}
    for row in rows:
        assert row.keys() >= KEYS
        assert row["latency_ms"].keys() >= LATENCY
        assert "emulated" in row["flags"]


def test_numbers_of_a_sweep_are_consistent(rows: list[dict[str, Any]]) -> None:
    dense, channel, int8 = rows
    assert dense["speedup"] == 1.0
    assert dense["accuracy_host"] > 0.8
    assert channel["params"] < dense["params"]
    assert channel["macs"] < dense["macs"]
    assert int8["precision"] == "int8"
    for row in rows:
        latency = row["latency_ms"]
        assert latency["rounds"] == 3
        assert latency["min"] <= latency["p50"] <= latency["p90"]
        assert latency["p50_ci"][0] <= latency["p50"] <= latency["p50_ci"][1]
        assert row["throughput_ips"] == pytest.approx(1000 / latency["mean"], rel=0.05)
        assert row["accuracy_device"] == pytest.approx(row["accuracy_host"], abs=0.03)
        assert row["agreement"] > 0.97
        assert row["threads"] == 1
        memory = row["memory_mb"]
        assert 0 < memory["baseline"] <= memory["loaded"] <= memory["peak"]


def test_a_second_sweep_builds_and_sends_nothing(workspace: Path, rows: list[dict[str, Any]]) -> None:
    files = {path: path.stat().st_mtime_ns for path in (workspace / ".boardbench" / "cache").rglob("*.onnx")}
    assert files
    again = json.loads(bench(workspace, "sweep", "--profile", "tiny", "--format", "json"))
    assert [row["variant_id"] for row in again] == [row["variant_id"] for row in rows]
    assert {path: path.stat().st_mtime_ns for path in files} == files
    sent = json.loads(
        bench(workspace, "deploy", "--profile", "tiny", "--device", "x86-emulated", "--format", "json")
    )
    assert sent[0]["files_sent"] == 0
    assert sent[0]["bytes_sent"] < 64 * 1024


def test_results_are_printed_in_every_format(workspace: Path, rows: list[dict[str, Any]]) -> None:
    run = rows[0]["run"]
    assert json.loads(bench(workspace, "results", "--run", run, "--format", "json")) == rows
    table = list(csv.DictReader(io.StringIO(bench(workspace, "results", "--run", run, "--format", "csv"))))
    assert [float(row["latency_ms.p50"]) for row in table] == [row["latency_ms"]["p50"] for row in rows]
    assert bench(workspace, "results", "--run", run, "--format", "markdown").count("\n|") >= len(rows)
    assert "channel-l2-50+int8" in bench(workspace, "results", "--run", run)
    bench(workspace, "results", "--run", run, "--format", "parquet", "-o", "r.parquet")
    assert (workspace / "r.parquet").read_bytes()[:4] == b"PAR1"


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


def test_any_onnx_file_can_be_measured(workspace: Path, rows: list[dict[str, Any]]) -> None:
    model = next((workspace / ".boardbench" / "cache").rglob("*.onnx"))
    words = ("run", str(model), "--device", "x86-emulated", "--measure", "quick", "--format", "json")
    told = bench(workspace, *words, code=2)
    assert "--shape" in told
    measured = json.loads(bench(workspace, *words, "--shape", "1,1,16,16"))
    assert measured[0]["latency_ms"]["p50"] > 0
    assert measured[0]["accuracy_device"] is None


def run_and_interrupt(root: Path, *words: str, when: str) -> str:
    """Start `bench`, send Ctrl-C once it has said `when`, and return the id of the run."""
    with subprocess.Popen(
        [sys.executable, "-m", "host.cli", *words],
        cwd=root,
        env=environment(root),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore SIGINT, and so would this one if the tests run in such a job.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if when in line and "done" not in line:
                time.sleep(0.3)
                os.killpg(process.pid, signal.SIGINT)
                break
        said += process.stderr
    text = "".join(said)
    assert process.returncode == 130, text
    return text.rsplit("--resume ", 1)[1].split()[0]


@pytest.mark.parametrize("stage", ["run 2", "packing the packages", "training", "measuring on"])
def test_ctrl_c_in_any_stage_can_be_resumed(tmp_path: Path, stage: str) -> None:
    root = make_tiny_workspace(tmp_path)
    try:
        run = run_and_interrupt(root, "sweep", "--profile", "tiny", when=stage)
        rows = json.loads(bench(root, "sweep", "--resume", run, "--format", "json"))
        assert {row["run"] for row in rows} == {run}
        assert [row["status"] for row in rows] == ["ok"] * 3
    finally:
        bench(root, "devices", "emulate", "x86-emulated", "down")
