"""What a sweep of the tiny profile must come to on any device: steps that several test modules take."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.bench_command import bench

Row = dict[str, Any]

KEYS = {
    "run", "device", "board", "is_emulated", "model", "variant", "variant_id", "runtime", "provider",
    "precision", "threads", "batch", "sparsity", "params", "params_nonzero", "macs", "file_bytes",
    "accuracy_host", "accuracy_device", "agreement", "latency_ms", "throughput_ips", "load_ms",
    "first_inference_ms", "speedup", "memory_mb", "power", "environment", "flags", "status", "error",
    "started_at",
}  # fmt: skip
LATENCY = {"n", "rounds", "min", "mean", "p50", "p50_ci", "p90", "p95", "p99", "p999"}
SLOW_S = 1800.0  # a board, or one that is emulated instruction by instruction


@dataclass(frozen=True)
class Swept:
    """A workspace whose tiny profile was swept on one device, and the rows of that run."""

    root: Path
    device: str
    is_emulated: bool
    rows: list[Row]


def sweep_device(root: Path, device: str, is_emulated: bool) -> Swept:
    """Sweep the tiny profile of a workspace on a registered device."""
    words = ("sweep", "--profile", "tiny", "--device", device, "--format", "json")
    return Swept(root, device, is_emulated, json.loads(bench(root, *words, timeout=SLOW_S)))


def every_variant_is_measured(swept: Swept) -> None:
    assert [row["variant"] for row in swept.rows] == ["dense", "channel-l2-50", "channel-l2-50+int8"]
    for row in swept.rows:
        assert (row["status"], row["error"]) == ("ok", None)
        assert (row["device"], row["is_emulated"]) == (swept.device, swept.is_emulated)
        assert ("emulated" in row["flags"]) == swept.is_emulated
        assert row.keys() >= KEYS
        assert row["latency_ms"].keys() >= LATENCY


def the_numbers_are_consistent(swept: Swept) -> None:
    dense, channel, int8 = swept.rows
    assert dense["speedup"] == 1.0
    assert dense["accuracy_host"] > 0.8
    assert channel["params"] < dense["params"]
    assert channel["macs"] < dense["macs"]
    assert int8["precision"] == "int8"
    for row in swept.rows:
        latency = row["latency_ms"]
        assert latency["rounds"] == 3
        assert latency["min"] <= latency["p50"] <= latency["p90"]
        assert latency["p50_ci"][0] <= latency["p50"] <= latency["p50_ci"][1]
        assert row["throughput_ips"] == pytest.approx(1000 / latency["mean"], rel=0.05)
        assert row["accuracy_device"] == pytest.approx(row["accuracy_host"], abs=0.03)
        assert row["agreement"] > 0.97
        assert row["threads"] >= 1
        memory = row["memory_mb"]
        assert 0 < memory["baseline"] <= memory["loaded"] <= memory["peak"]


def a_second_deploy_sends_no_payload(swept: Swept) -> None:
    words = ("deploy", "--profile", "tiny", "--device", swept.device, "--format", "json")
    (sent,) = json.loads(bench(swept.root, *words, timeout=SLOW_S))
    assert sent["files_sent"] == 0
    assert sent["bytes_sent"] < 64 * 1024


def the_results_are_printed_in_every_format(swept: Swept) -> None:
    words = ("results", "--run", swept.rows[0]["run"])
    assert json.loads(bench(swept.root, *words, "--format", "json")) == swept.rows
    table = list(csv.DictReader(io.StringIO(bench(swept.root, *words, "--format", "csv"))))
    assert [float(row["latency_ms.p50"]) for row in table] == [row["latency_ms"]["p50"] for row in swept.rows]
    assert bench(swept.root, *words, "--format", "markdown").count("\n|") >= len(swept.rows)
    assert "channel-l2-50+int8" in bench(swept.root, *words)
    bench(swept.root, *words, "--format", "parquet", "-o", "r.parquet")
    assert (swept.root / "r.parquet").read_bytes()[:4] == b"PAR1"


def any_onnx_file_can_be_measured(swept: Swept) -> None:
    model = next((swept.root / ".boardbench" / "cache").rglob("*.onnx"))
    words = ("run", str(model), "--device", swept.device, "--measure", "quick", "--format", "json")
    assert "--shape" in bench(swept.root, *words, code=2)
    (row,) = json.loads(bench(swept.root, *words, "--shape", "1,1,16,16", timeout=SLOW_S))
    assert row["latency_ms"]["p50"] > 0
    assert row["accuracy_device"] is None


STEPS: tuple[Callable[[Swept], None], ...] = (
    every_variant_is_measured,
    the_numbers_are_consistent,
    a_second_deploy_sends_no_payload,
    the_results_are_printed_in_every_format,
    any_onnx_file_can_be_measured,
)

main_job = pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
"""Runs a test once for each step; a module gives its own `swept`."""
