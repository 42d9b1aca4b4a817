"""Result rows: every promised key, and comparisons only between what is comparable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from host.ledger.flat import flatten_row
from host.ledger.records import Entry
from host.ledger.rows import join_rows, result_rows
from host.ledger.statistics import summarize_latency
from host.ledger.store import Ledger
from host.specs.measurement import Measurement
from tests.made_results import (
    make_failure,
    make_measurement,
    make_rounds,
    make_row,
    make_rows,
    make_run,
    make_sweep,
    make_unfit,
)

PROMISED = {
    *("run", "device", "board", "is_emulated", "model", "variant", "variant_id", "runtime", "provider"),
    *("precision", "threads", "batch", "sparsity", "params", "params_nonzero", "macs", "file_bytes"),
    *("accuracy_host", "accuracy_device", "agreement", "latency_ms", "throughput_ips", "load_ms"),
    *("first_inference_ms", "speedup", "memory_mb", "power", "environment", "flags", "status", "error"),
    "started_at",
}
FIGURES = {"n", "rounds", "min", "mean", "p50", "p50_ci", "p90", "p95", "p99", "p999"}


def test_a_row_holds_every_promised_key_and_is_json() -> None:
    row = make_row()
    assert set(row) >= PROMISED
    assert set(row["latency_ms"]) >= FIGURES
    assert set(row["memory_mb"]) == {"baseline", "loaded", "peak", "pss", "available_fall"}
    figures = {"idle_w", "load_w", "energy_mj", "energy_net_mj", "sampler_effect", "rate_hz"}
    assert set(row["power"]) == {"source", "rails", "sampler", "note", "course"} | figures
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_rows_of_a_run_are_read_from_the_ledger(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        ledger.start_run(make_run("r1", 0))
        ledger.start_run(make_run("r2", 1))
        ledger.save(make_measurement("a", run="r1", is_baseline=True), make_rounds(4.0))
        ledger.save(make_measurement("b", run="r2"), make_rounds(2.0))
        assert [row["task"] for row in result_rows(ledger, "r1")] == ["a"]
        assert [row["task"] for row in result_rows(ledger)] == ["b", "a"]
        assert result_rows(ledger, "r1")[0]["latency_ms"]["n"] == 192


def test_speedup_and_accuracy_are_compared_with_dense() -> None:
    dense, pruned, quantized = make_rows(*make_sweep())
    assert dense["speedup"] == 1.0
    assert dense["accuracy_change"] == 0.0
    assert pruned["speedup"] == pytest.approx(2.0)
    assert pruned["accuracy_change"] == pytest.approx(-1.0)
    assert quantized["speedup"] == pytest.approx(2.5)


def test_throughput_counts_the_images_of_a_batch() -> None:
    assert make_row(p50_ms=5.0, batch=1)["throughput_ips"] == pytest.approx(200, rel=0.01)
    assert make_row(p50_ms=5.0, batch=8)["throughput_ips"] == pytest.approx(1600, rel=0.01)


@pytest.mark.parametrize(
    "difference",
    [
        {"run": "r2"},
        {"device": "orin"},
        {"model": "other"},
        {"provider": "CUDAExecutionProvider"},
        {"threads": None},
        {"batch": 2},
    ],
)
def test_what_is_not_comparable_has_no_speedup(difference: dict[str, object]) -> None:
    dense = make_measurement("a", is_baseline=True)
    other = make_measurement("b", variant="pruned", variant_id="id-pruned", **difference)
    row = make_rows((dense, 5.0), (other, 2.5))[1]
    assert row["speedup"] is None
    assert row["accuracy_change"] is None


def test_a_failure_on_either_side_leaves_no_speedup() -> None:
    dense, pruned = make_measurement("a", is_baseline=True), make_measurement("b", variant_id="p")
    failed_dense = make_failure("a", "killed", is_baseline=True)
    failed_pruned = make_failure("b", "killed", variant_id="p")
    assert [row["speedup"] for row in make_rows((failed_dense, None), (pruned, 2.0))] == [None, None]
    assert [row["speedup"] for row in make_rows((dense, 5.0), (failed_pruned, 2.0))] == [1.0, None]


def test_a_failed_row_says_why_and_keeps_the_shape_of_its_latency() -> None:
    row = make_rows((make_failure("a", "killed"), None))[0]
    assert row["error"] == {"kind": "memory", "message": "killed"}
    assert row["latency_ms"]["n"] == 0
    assert row["latency_ms"]["p50"] is None
    assert row["throughput_ips"] is None


def test_an_unfit_row_is_compared_by_what_the_host_knows_and_with_nothing_else() -> None:
    dense = make_measurement("a", is_baseline=True, accuracy_host=0.981, threads=4)
    for place in ({}, {"device": "orin"}, {"run": "r2"}, {"model": "other"}):
        row = make_rows((dense, 5.0), (make_unfit("u", threads=None, **place), None))[1]
        assert row["accuracy_change"] == (None if place else pytest.approx(-15.0))
        assert row["speedup"] is None
        assert row["latency_ms"]["p50"] is None


def test_rows_of_an_old_ledger_lack_only_what_it_does_not_tell() -> None:
    measurement = make_measurement("a").as_json()
    del measurement["gzip_bytes"], measurement["packed_bytes"], measurement["memory_mb"]["available_fall"]
    latency = summarize_latency(make_rounds()).model_dump(mode="json")
    (row,) = join_rows([Entry(measurement, latency)])
    assert (row["file_bytes"], row["gzip_bytes"], row["packed_bytes"]) == (8_900_000, None, None)
    assert flatten_row(row)["memory_mb.available_fall"] is None


def test_accuracy_is_compared_on_the_device_or_else_on_the_host_never_mixed() -> None:
    dense = make_measurement("a", is_baseline=True, accuracy_host=0.9, accuracy_device=None)
    pruned = make_measurement("b", variant_id="p", accuracy_host=0.8, accuracy_device=0.95)
    assert make_rows((dense, 5.0), (pruned, 2.0))[1]["accuracy_change"] == pytest.approx(-10)


def test_a_second_dense_variant_is_compared_with_the_first() -> None:
    first = make_measurement("a", is_baseline=True)
    second = make_measurement("b", variant_id="other-opset", is_baseline=True)
    assert [row["speedup"] for row in make_rows((first, 5.0), (second, 2.5))] == [1.0, pytest.approx(2.0)]


def make_options(**options: object) -> list[tuple[Measurement, float]]:
    """Dense and a variant with settings of a runtime, as the board tells them."""
    tag = "-".join(str(value) for value in options.values())
    settings = {"threads": 1, "tactics": tag, **options}
    dense = make_measurement(f"dense-{tag}", is_baseline=True, runtime_settings=settings)
    other = {"variant": "int8", "variant_id": "id-int8", "runtime_settings": {**settings, "tactics": "own"}}
    return [(dense, 4.0 if options.get("spinning") else 8.0), (make_measurement(f"int8-{tag}", **other), 2.0)]


def test_options_of_a_runtime_have_baselines_of_their_own() -> None:
    rows = make_rows(*make_options(spinning=True, arena=True), *make_options(spinning=False, arena=True))
    assert [row["speedup"] for row in rows] == pytest.approx([1.0, 2.0, 1.0, 4.0], rel=0.05)
    rows = make_rows(*make_options(inference_precision="f32"), *make_options(inference_precision="f16")[1:])
    assert rows[1]["speedup"] is not None
    assert rows[2]["speedup"] is None  # there is no dense at f16


def test_what_a_runtime_chose_for_one_variant_alone_does_not_keep_it_from_its_baseline() -> None:
    _, int8 = make_rows(*make_options(spinning=True))
    assert int8["runtime_settings"]["tactics"] == "own"
    assert int8["speedup"] is not None
