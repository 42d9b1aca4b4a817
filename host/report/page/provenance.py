"""Where the figures of a row come from: what was measured, when, on what, and in which state it was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from host.ledger.ranking import MIB
from host.report.cells import MISSING, clean_text, format_sparsity
from host.report.comparison import tell_setting
from host.report.page.entries import Entry

Facts = Mapping[str, Any]

MOMENTS = (
    ("rest", "before cooling down ended"),
    ("before", "before the first round"),
    ("during", "within rounds"),
    ("after", "after the last round"),
)
LONGEST_FACT = 2000


class Fact(NamedTuple):
    """A name and its value, as text."""

    name: str
    text: str


class Block(NamedTuple):
    """Facts under a heading; `key` is that of `Measure.block`, and `note` says how it was measured."""

    key: str
    title: str
    note: str
    facts: tuple[Fact, ...]


def describe_origin(entry: Entry) -> tuple[Block, ...]:
    """Everything that is known of one row."""
    row = entry.row
    blocks = (
        _tell_latency(row),
        _tell_quality(row),
        _tell_memory(row["memory_mb"]),
        _tell_power(row["power"]),
        _tell_conditions(row["environment"]),
        _tell_software(row),
        _tell_cost(row),
        _tell_identity(row),
    )
    return tuple(block for block in blocks if block.facts)


def _tell_latency(row: Facts) -> Block:
    latency = row["latency_ms"]
    interval = latency.get("p50_ci")
    percentiles = [(name, latency.get(name)) for name in ("p50", "p90", "p95", "p99", "p999")]
    facts = [
        ("samples", f"{latency['n']:,} in {_count(latency['rounds'], 'round')}" if latency["n"] else None),
        ("outliers, kept", f"{latency['outliers']:,}" if latency["n"] else None),
        ("least", _number(latency.get("min"), "ms")),
        *((name, _number(value, "ms")) for name, value in percentiles),
        ("95 % interval of p50", f"{_plain(interval[0])} to {_plain(interval[1])} ms" if interval else None),
        ("mean", _number(latency.get("mean"), "ms")),
        ("throughput", _number(row["throughput_ips"], "images/s")),
        ("speed-up against dense", _number(row["speedup"], "×")),
        ("opening the model", _number(row["load_ms"], "ms")),
        ("building the engine", _number(row["build_s"], "s")),
        ("first inference", _number(row["first_inference_ms"], "ms")),
        ("computing, without transfers", _number(row["compute_ms"], "ms")),
        *_tell_scenario(row),
    ]
    note = "Around one call of the runtime, raw samples kept; a percentile only where they support it."
    return Block("latency", "Latency", note, _facts(facts) if latency["n"] else ())


def _tell_scenario(row: Facts) -> list[tuple[str, str | None]]:
    paced, sustained = row.get("paced"), row.get("sustained")
    facts: list[tuple[str, str | None]] = [("scenario", row["scenario"])]
    if paced:
        counts = [f"{paced[name]:,}" for name in ("due", "done", "dropped", "missed")]
        facts += [
            ("asked", f"{_plain(paced['rate_hz'])} a second, each within {_plain(paced['deadline_ms'])} ms"),
            ("due, done, dropped, missed", " · ".join(counts)),
            ("woken late", _number(paced["wakeup_ms"], "ms")),
        ]
    if sustained:
        facts.append(("without a pause", _number(sustained["duration_s"], "s")))
    return facts


def _tell_quality(row: Facts) -> Block:
    facts = [
        ("accuracy on the device", _percent(row["accuracy_device"])),
        ("accuracy on the host", _percent(row["accuracy_host"])),
        ("same answer as the host", _percent(row["agreement"])),
        ("largest difference of outputs", _number(row["max_abs_diff"], "")),
    ]
    note = "The host's over the whole test set, the device's over the images sent to it."
    return Block("quality", "Accuracy", note, _facts(facts))


def _tell_memory(memory: Facts) -> Block:
    names = {
        "baseline": "before the model is opened",
        "loaded": "model opened",
        "peak": "peak",
        "pss": "shared pages by their share (PSS)",
        "available_fall": "fall of what the board has left",
    }
    facts = [(title, _number(memory.get(name), "MiB")) for name, title in names.items()]
    return Block("memory", "Memory", "In a pass of its own, by the kernel's counters.", _facts(facts))


def _tell_power(power: Facts) -> Block:
    effect = power.get("sampler_effect")
    facts = [
        ("source", power.get("source")),
        ("rails", ", ".join(power.get("rails") or ())),
        ("under load", _number(power.get("load_w"), "W")),
        ("idle", _number(power.get("idle_w"), "W")),
        ("one inference, idle included", _number(power.get("energy_mj"), "mJ")),
        ("one inference, idle subtracted", _number(power.get("energy_net_mj"), "mJ")),
        ("sampler", power.get("sampler")),
        ("read", _number(power.get("rate_hz"), "times a second")),
        ("sampling slowed inferences by", _percent(effect)),
        ("note", power.get("note")),
    ]
    return Block("power", "Power", "Means over windows at idle and under load.", _facts(facts))


def _tell_conditions(environment: Facts) -> Block:
    facts = []
    for name, title in MOMENTS:
        told = environment.get(name)
        if isinstance(told, Mapping):
            facts += [(f"{title}: {key}", _write(key, value)) for key, value in told.items()]
    return Block("conditions", "State of the board", "What it said of itself.", _facts(facts))


def _tell_software(row: Facts) -> Block:
    versions = row["environment"].get("versions")
    nodes = row["nodes"] or {}
    facts = [
        ("runtime", " ".join(filter(None, (row["runtime"], row["runtime_version"])))),
        ("ran on", row["provider"]),
        ("nodes", " · ".join(f"{name} {count:,}" for name, count in nodes.items())),
        ("threads", tell_setting("threads", row["threads"])),
        ("batch", str(row["batch"])),
        *((name, _write(name, value)) for name, value in row["runtime_settings"].items()),
        *((f"version of {name}", _write(name, value)) for name, value in _items(versions)),
    ]
    return Block("software", "Software", "", _facts(facts))


def _tell_cost(row: Facts) -> Block:
    sizes = (("file", "file_bytes"), ("after gzip", "gzip_bytes"), ("packed", "packed_bytes"))
    facts = [
        *((title, _size(row[key])) for title, key in sizes),
        ("parameters", _whole(row["params"])),
        ("parameters that are not zero", _whole(row["params_nonzero"])),
        ("multiply-adds", _whole(row["macs"])),
        ("sparsity %", format_sparsity(row["sparsity"], row["sparsity_target"])),
        ("precision", row["precision"]),
    ]
    return Block("cost", "Cost on paper", "Counted in the file, not measured.", _facts(facts))


def _tell_identity(row: Facts) -> Block:
    facts = [
        ("board", row["board"]),
        ("device", row["device"] + (" (emulated)" if row["is_emulated"] else "")),
        ("measured at", row["started_at"]),
        ("run", row["run"]),
        ("task", row["task"]),
        ("model", row["model"]),
        ("variant", row["variant"]),
        ("variant id", row["variant_id"]),
        ("SHA-256 of the file", row["model_sha256"]),
        ("flags", ", ".join(row["flags"]) or "none"),
    ]
    return Block("identity", "Identity", "", _facts(facts))


def _facts(told: Iterable[tuple[str, str | None]]) -> tuple[Fact, ...]:
    """The facts that are known, their text harmless and of a length that a page can hold."""
    return tuple(
        Fact(clean_text(name), _shorten(clean_text(text)))
        for name, text in told
        if text not in (None, "", MISSING)
    )


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST_FACT else text[:LONGEST_FACT] + " …"


def _items(told: Any) -> Iterable[tuple[str, Any]]:
    return told.items() if isinstance(told, Mapping) else ()


def _write(key: str, value: Any) -> str | None:
    """A value that a board told, with the unit that its name ends with."""
    if value is None:
        return None
    if key == "time" and isinstance(value, int | float):
        return write_clock(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(value, _find_unit(key))
    if isinstance(value, list | tuple) and all(isinstance(one, int | float) for one in value):
        return f"{', '.join(_plain(one) for one in value)} {_find_unit(key)}".strip()
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def write_clock(seconds: float) -> str | None:
    """A board's clock in UTC; None where it tells a time that no calendar has."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC, by the board's clock"
    except (ValueError, OverflowError, OSError):
        return None


def _find_unit(key: str) -> str:
    units = {"mhz": "MHz", "c": "°C", "s": "s", "mb": "MiB", "max": "°C" if "_c_" in key else ""}
    return units.get(key.rpartition("_")[2], "")


def _number(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{_plain(value)} {unit}".strip()


def _plain(value: float) -> str:
    """Five digits, as people write numbers."""
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        return f"{value:.5g}"
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.3e}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.4g} %"


def _size(size: int | None) -> str | None:
    return None if size is None else f"{size:,} bytes ({size / MIB:.4g} MiB)"


def _whole(count: int | None) -> str | None:
    return None if count is None else f"{count:,}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def list_moments(environment: Facts) -> Sequence[tuple[str, Facts]]:
    """The states of the board that were read, in order."""
    return [(name, environment[name]) for name, _ in MOMENTS if isinstance(environment.get(name), Mapping)]
