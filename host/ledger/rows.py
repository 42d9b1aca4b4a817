"""Measurements as the rows of a result: what was stored, and what comparing with the baseline adds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import Any

from device_agent.protocol import SINGLE_STREAM
from host.ledger.records import Entry
from host.ledger.selecting import EVERYTHING, Selection
from host.ledger.store import Ledger
from host.specs.profile import OPTIONS

Row = dict[str, Any]
"""One object of `bench results --format json`; its keys are those of `_join_row`."""

COMPARABLE = ("run", "device", "model", "runtime", "provider", "threads", "batch", "scenario", *OPTIONS)
"""What two rows must share to be compared with each other. Options of a runtime are in `runtime_settings`."""

NAMED = COMPARABLE[:3]
"""What they must share where neither needs settings: those that a board took are known once it has run."""


def result_rows(ledger: Ledger, run_id: str | None = None, where: Selection = EVERYTHING) -> list[Row]:
    """The rows of one run, or of all runs, the newest first, in JSON's own types.

    `speedup` is p50 of the dense baseline divided by p50 of the row, None where either of them failed or
    where no baseline ran with the same settings. `accuracy_change` is in percentage points.
    """
    return list(stream_rows(ledger, run_id, where))


def stream_rows(ledger: Ledger, run_id: str | None = None, where: Selection = EVERYTHING) -> Iterator[Row]:
    """As `result_rows`, of which only those of one run are held at a time.

    What is selected is compared with the baselines of its run, be they selected or not.
    """
    told = ledger.stream_entries(run_id, where)
    for run, entries in groupby(told, key=lambda entry: entry.measurement["run"]):
        others = [] if where == EVERYTHING else ledger.entries(run, where.of_baselines)
        yield from join_rows(entries, others)


def join_rows(entries: Iterable[Entry], others: Iterable[Entry] = ()) -> list[Row]:
    """As `result_rows`, from what the ledger read; `others` are baselines that are no rows themselves."""
    listed = list(entries)
    baselines: dict[tuple[Any, ...], Entry] = {}
    for entry in chain(others, listed):
        if entry.measurement["is_baseline"] and entry.measurement["status"] == "ok":
            baselines.setdefault(_key(entry.measurement), entry)
            baselines.setdefault(_key(entry.measurement, NAMED), entry)
    return [_join_row(entry, _find_baseline(entry.measurement, baselines)) for entry in listed]


def _find_baseline(
    measurement: Mapping[str, Any], baselines: Mapping[tuple[Any, ...], Entry]
) -> Entry | None:
    """The baseline with the same settings; for what was not run, of which only accuracy is known, any."""
    names = NAMED if measurement["status"] == "unfit" else COMPARABLE
    return baselines.get(_key(measurement, names))


def _key(measurement: Mapping[str, Any], names: Sequence[str] = COMPARABLE) -> tuple[Any, ...]:
    return tuple(read_setting(measurement, name) for name in names)


def read_setting(row: Mapping[str, Any], name: str) -> Any:
    """A setting of a row or a measurement; None where it is an option that its runtime has not."""
    if name == "scenario":
        return row.get(name, SINGLE_STREAM)  # before there were others, a ledger did not tell it
    return row.get("runtime_settings", {}).get(name) if name in OPTIONS else row[name]


def _join_row(entry: Entry, baseline: Entry | None) -> Row:
    held, latency = entry
    return {
        "run": held["run"],
        "task": held["task"],
        "device": held["device"],
        "board": held["board"],
        "is_emulated": held["is_emulated"],
        "model": held["model"],
        "variant": held["variant"],
        "variant_id": held["variant_id"],
        "model_sha256": held["model_sha256"],
        "is_baseline": held["is_baseline"],
        "runtime": held["runtime"],
        "provider": held["provider"],
        "precision": held["precision"],
        "threads": held["threads"],
        "batch": held["batch"],
        "sparsity": held["sparsity"],
        "sparsity_target": held["sparsity_target"],
        "params": held["params"],
        "params_nonzero": held["params_nonzero"],
        "macs": held["macs"],
        "file_bytes": held["file_bytes"],
        "gzip_bytes": held.get("gzip_bytes"),  # a ledger of schema 1 does not tell it
        "packed_bytes": held.get("packed_bytes"),
        "accuracy_host": held["accuracy_host"],
        "accuracy_device": held["accuracy_device"],
        "accuracy_change": _change_accuracy(held, baseline.measurement) if baseline else None,
        "agreement": held["agreement"],
        "max_abs_diff": held["max_abs_diff"],
        "latency_ms": {name: value for name, value in latency.items() if name != "total_ms"},
        "throughput_ips": _find_throughput(held, latency),
        "scenario": read_setting(held, "scenario"),
        "paced": held.get("paced"),
        "sustained": held.get("sustained"),
        # `get`: a ledger of schema 2 does not tell these.
        "runtime_version": held.get("runtime_version"),
        "runtime_settings": held.get("runtime_settings", {}),
        "nodes": held.get("nodes"),
        "build_s": held.get("build_s"),
        "compute_ms": held.get("compute_ms"),
        "load_ms": held["load_ms"],
        "first_inference_ms": held["first_inference_ms"],
        "speedup": _compare_speed(entry, baseline) if baseline else None,
        "memory_mb": held["memory_mb"],
        "power": held["power"],
        "environment": held["environment"],
        "flags": held["flags"],
        "status": held["status"],
        "error": held["error"],
        "started_at": held["started_at"],
    }


def _change_accuracy(held: Mapping[str, Any], baseline: Mapping[str, Any]) -> float | None:
    """Points gained against the baseline: on the board where both ran there, else on the host."""
    for name in ("accuracy_device", "accuracy_host"):
        if held[name] is not None and baseline[name] is not None:
            return round(100 * (float(held[name]) - float(baseline[name])), 6)
    return None


def _compare_speed(entry: Entry, baseline: Entry) -> float | None:
    """How many times as fast as the baseline; exactly 1.0 for the baseline itself."""
    own, base = entry.latency["p50"], baseline.latency["p50"]
    if entry.measurement["status"] != "ok" or not own or base is None:
        return None
    return float(base / own)


def _find_throughput(held: Mapping[str, Any], latency: Mapping[str, Any]) -> float | None:
    """Images per second. Where inferences wait to be due, or only a part of the samples is kept, the samples
    do not tell it."""
    for name in ("paced", "sustained"):
        if held.get(name):
            return float(held[name]["throughput_ips"])
    return _rate(latency, held["batch"])


def _rate(latency: Mapping[str, Any], batch: int) -> float | None:
    """Images per second: all images of the sample divided by the time that they took."""
    total_ms = latency["total_ms"]
    return None if not total_ms else 1000 * batch * float(latency["n"]) / float(total_ms)
