"""Two sets of measurements beside each other: what every pair comes to, and what has no counterpart. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from device_agent.protocol import SUSTAINED
from host.ledger.comparing import Difference, Verdict, compare_latency
from host.ledger.fairness import Told, Unlike, count_unlike, find_unlike
from host.ledger.matching import Matched, Row, Subject, match_rows
from host.ledger.records import RunRecord
from host.ledger.rows import read_setting
from host.ledger.statistics import Samples
from host.specs.profile import OPTIONS
from host.specs.record import Record

SHARED_TIME = 0.25
"""Of the longer of two spans, what both have to share to have been measured in turns."""

ReadSamples = Callable[[Row], Sequence[Samples]]
"""The raw samples of a row in ns, an array for each round."""


class Side(Record):
    """One measurement of a pair, by what a person needs to find it again, with its figures.

    Memory is the peak in MiB. `accuracy` is the one that the pair is compared by.
    """

    run: str
    task: str
    device: str
    is_emulated: bool
    variant: str
    runtime: str
    provider: str
    threads: int | None
    status: str
    reason: str | None
    p50_ms: float | None
    p50_ci: tuple[float, float] | None
    accuracy: float | None
    memory_mb: float | None
    file_bytes: int
    packed_bytes: int | None
    energy_mj: float | None
    flags: tuple[str, ...]


class Changes(Record):
    """What the second has beside the first: accuracy in percentage points, the others as ratios, second over
    first. None where either is not known, and for energy where two sensors saw it."""

    accuracy_points: float | None
    memory: float | None
    file: float | None
    packed: float | None
    energy: float | None


class Contrast(Record):
    """One pair. `verdict` says of the second what its latency is beside the first.

    `latency` is None where nothing was compared; `reason` says why there is no other verdict than
    `cannot tell`. `accuracy_source` is where both were measured: on the device, or on the host.
    """

    model: str
    batch: int
    scenario: str | None
    settings: dict[str, str | bool]
    first: Side
    second: Side
    latency: Difference | None
    verdict: Verdict
    reason: str | None
    accuracy_source: str | None
    changes: Changes
    unlike: tuple[Unlike, ...]


class Lonely(Record):
    """A measurement without a counterpart."""

    device: str
    model: str
    variant: str
    settings: str
    status: str


class Comparison(Record):
    """All that `bench compare` tells. `unlike` are the differences that make it unfair, over all pairs."""

    subject: Subject
    first: str
    second: str
    unlike: tuple[Told, ...]
    pairs: tuple[Contrast, ...]
    only_first: tuple[Lonely, ...]
    only_second: tuple[Lonely, ...]


def compare_sides(
    names: tuple[str, str],
    rows: tuple[Sequence[Row], Sequence[Row]],
    subject: Subject,
    read_samples: ReadSamples,
    runs: Mapping[str, RunRecord],
) -> Comparison:
    """Every row of the second beside its counterpart of the first."""
    matched = match_rows(*rows, subject)
    pairs = contrast_pairs(matched, subject, read_samples, runs)
    return Comparison(
        subject=subject,
        first=names[0],
        second=names[1],
        unlike=count_unlike([pair.unlike for pair in pairs]),
        pairs=pairs,
        only_first=tuple(map(describe_lonely, matched.only_first)),
        only_second=tuple(map(describe_lonely, matched.only_second)),
    )


def contrast_pairs(
    matched: Matched, subject: Subject, read_samples: ReadSamples, runs: Mapping[str, RunRecord]
) -> tuple[Contrast, ...]:
    return tuple(contrast_rows(*pair, subject, read_samples, runs) for pair in matched.pairs)


def contrast_rows(
    first: Row, second: Row, subject: Subject, read_samples: ReadSamples, runs: Mapping[str, RunRecord]
) -> Contrast:
    """What one pair comes to."""
    latency, reason = _compare_rows(first, second, read_samples)
    accuracies, source = pair_accuracy(first, second)
    unlike = find_unlike(first, second, subject, runs)
    return Contrast(
        model=second["model"],
        batch=second["batch"],
        scenario=second["scenario"] or first["scenario"],
        settings={
            name: value for name in OPTIONS if isinstance(value := read_setting(second, name), str | bool)
        },
        first=describe_side(first, accuracies[0]),
        second=describe_side(second, accuracies[1]),
        latency=latency,
        verdict="cannot tell" if latency is None or reason else latency.verdict,
        reason=reason,
        accuracy_source=source,
        changes=_find_changes(first, second, accuracies),
        unlike=unlike,
    )


def _compare_rows(first: Row, second: Row, read_samples: ReadSamples) -> tuple[Difference | None, str | None]:
    """The difference of their latencies, and why it is no ground for a verdict."""
    for side, row in (("first", first), ("second", second)):
        if row["status"] != "ok":
            return None, f"the {side} {tell_failure(row)}"
    found = compare_latency(
        read_samples(first), read_samples(second), interleaved=are_interleaved(first, second)
    )
    if found is None:
        return None, "there are fewer than two rounds"
    if first["is_emulated"] != second["is_emulated"]:
        return found, "an emulated device does not tell a board's speed"
    return found, None


def are_interleaved(first: Row, second: Row) -> bool:
    """Whether the rounds of two rows were measured in turns, as those of one block are.

    A run measures in blocks where memory does not hold everything, and may be resumed on another day. Its
    rows tell by the board's clock when their first round began and their last one ended; where that is not
    known, nobody knows. In a block of three rounds in random order, the most unequal spans share a third.
    """
    if first["run"] != second["run"] or first["device"] != second["device"]:
        return False
    if SUSTAINED in (first["scenario"], second["scenario"]):
        return False
    spans = [_find_span(row) for row in (first, second)]
    if spans[0] is None or spans[1] is None:
        return False
    (began, ended), (other_began, other_ended) = spans[0], spans[1]
    shared = min(ended, other_ended) - max(began, other_began)
    return shared > SHARED_TIME * max(ended - began, other_ended - other_began)


def _find_span(row: Row) -> tuple[float, float] | None:
    """From the first round's beginning to the last one's end, in seconds of the board's clock."""
    states = [row["environment"].get(when) for when in ("before", "after")]
    times = [state.get("time") if isinstance(state, Mapping) else None for state in states]
    began, ended = (float(time) if isinstance(time, int | float) else None for time in times)
    return None if began is None or ended is None or ended < began else (began, ended)


def tell_failure(row: Row) -> str:
    """What became of a row that has no figures: `failed (memory): …`."""
    error = row["error"] or {"kind": "unknown", "message": ""}
    if row["status"] == "unfit":
        return f"was not measured: {error['message']}"
    return f"failed ({error['kind']}): {error['message']}"


def pair_accuracy(first: Row, second: Row) -> tuple[tuple[float | None, float | None], str | None]:
    """Both accuracies, measured in the same place: on the device where both were, else on the host."""
    for name, source in (("accuracy_device", "device"), ("accuracy_host", "host")):
        if first[name] is not None and second[name] is not None:
            return (first[name], second[name]), source
    return (None, None), None


def describe_side(row: Row, accuracy: float | None) -> Side:
    """A row by what is told of it."""
    return Side(
        run=row["run"],
        task=row["task"],
        device=row["device"],
        is_emulated=row["is_emulated"],
        variant=row["variant"],
        runtime=row["runtime"],
        provider=row["provider"],
        threads=row["threads"],
        status=row["status"],
        reason=None if row["status"] == "ok" else tell_failure(row),
        p50_ms=row["latency_ms"]["p50"],
        p50_ci=row["latency_ms"]["p50_ci"],
        accuracy=accuracy,
        memory_mb=row["memory_mb"]["peak"],
        file_bytes=row["file_bytes"],
        packed_bytes=row["packed_bytes"],
        energy_mj=row["power"]["energy_mj"],
        flags=tuple(row["flags"]),
    )


def _find_changes(first: Row, second: Row, accuracies: tuple[float | None, float | None]) -> Changes:
    one, other = accuracies
    is_one_sensor = first["power"]["source"] == second["power"]["source"]
    energies = (first["power"]["energy_mj"], second["power"]["energy_mj"])
    return Changes(
        accuracy_points=None if one is None or other is None else round(100 * (other - one), 6),
        memory=_divide(second["memory_mb"]["peak"], first["memory_mb"]["peak"]),
        file=_divide(second["file_bytes"], first["file_bytes"]),
        packed=_divide(second["packed_bytes"], first["packed_bytes"]),
        energy=_divide(energies[1], energies[0]) if is_one_sensor else None,
    )


def _divide(second: float | None, first: float | None) -> float | None:
    return None if second is None or not first else float(second) / float(first)


def describe_lonely(row: Row) -> Lonely:
    return Lonely(
        device=row["device"],
        model=row["model"],
        variant=row["variant"],
        settings=tell_settings(row),
        status=row["status"],
    )


def tell_options(settings: Mapping[str, Any]) -> Iterator[str]:
    """The options of a runtime that are not as they are by default: `arena off`."""
    for name in OPTIONS:
        value = settings.get(name)
        if value is not None and value is not True:
            yield f"{name} off" if value is False else f"{name} {value}"


def tell_settings(row: Mapping[str, Any]) -> str:
    """How a row was run: `onnxruntime CPUExecutionProvider, 4 threads, batch 1`."""
    threads = row["threads"]
    cores = "all cores" if threads is None else f"{threads} thread{'' if threads == 1 else 's'}"
    own = list(tell_options(row["runtime_settings"]))
    batch = [f"batch {row['batch']}"] if row["batch"] != 1 else []
    scenario = [row["scenario"]] if row["scenario"] not in (None, "single-stream") else []
    return ", ".join([f"{row['runtime']} {row['provider']}", cores, *batch, *scenario, *own])
