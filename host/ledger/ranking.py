"""The fastest variant within the limits, for each device: who wins, who is as fast, why the others fell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from host.specs.profile import OPTIONS, Limits
from host.specs.record import Record

MIB = 1024 * 1024


class Candidate(Record):
    """One row of a ranking, by what a person needs to find it again."""

    run: str
    task: str
    variant: str
    settings: str
    p50_ms: float | None
    p50_ci: tuple[float, float] | None
    accuracy: float | None
    speedup: float | None
    flags: tuple[str, ...]


class Fallen(Record):
    """A candidate that was ruled out, with every reason."""

    candidate: Candidate
    reasons: tuple[str, ...]


class Winner(Record):
    """The ranking of one model on one device at one batch size.

    `fastest` is None where nothing kept the limits. `rivals` are those that it is not clearly faster than:
    their intervals overlap, or one is not known. `slower` are the rest, in order of p50.
    """

    device: str
    is_emulated: bool
    model: str
    batch: int
    fastest: Candidate | None
    rivals: tuple[Candidate, ...]
    slower: tuple[Candidate, ...]
    fallen: tuple[Fallen, ...]


def pick_winners(rows: Iterable[Mapping[str, Any]], limits: Limits | None = None) -> list[Winner]:
    """A ranking for each device, model, batch size and scenario; emulated devices never stand beside real
    ones.

    Rows are those of `result_rows`. Latencies of different batch sizes are not compared, nor are those of
    different scenarios; a row that no board was asked for is told beside those that were.
    """
    listed = list(rows)
    scenarios: dict[tuple[Any, ...], str | None] = {}
    for row in listed:
        scenarios[_place(row)] = scenarios.get(_place(row)) or row["scenario"]
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in listed:
        key = (*_place(row), row["scenario"] or scenarios[_place(row)])
        groups.setdefault(key, []).append(row)
    return [_rank(group, limits or Limits()) for group in groups.values()]


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["device"], row["is_emulated"], row["model"], row["batch"]


def _rank(rows: list[Mapping[str, Any]], limits: Limits) -> Winner:
    options = _find_varying(rows)
    judged = [(_describe(row, options), tuple(find_reasons(row, limits))) for row in rows]
    kept = sorted((item for item, reasons in judged if not reasons), key=lambda item: item.p50_ms or 0)
    fastest = kept[0] if kept else None
    rivals = tuple(item for item in kept[1:] if not _is_clearly_faster(kept[0], item))
    return Winner(
        device=rows[0]["device"],
        is_emulated=rows[0]["is_emulated"],
        model=rows[0]["model"],
        batch=rows[0]["batch"],
        fastest=fastest,
        rivals=rivals,
        slower=tuple(item for item in kept[1:] if item not in rivals),
        fallen=tuple(Fallen(candidate=item, reasons=reasons) for item, reasons in judged if reasons),
    )


def _find_varying(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The options that tell rows of one runtime apart."""
    seen: dict[tuple[str, str], set[Any]] = {}
    for row in rows:
        for name in OPTIONS:
            value = row["runtime_settings"].get(name)
            seen.setdefault((name, row["runtime"]), set()).update([] if value is None else [value])
    return [name for name in OPTIONS if any(len(seen[key]) > 1 for key in seen if key[0] == name)]


def find_reasons(row: Mapping[str, Any], limits: Limits) -> list[str]:
    """Why a row cannot win, nothing where it can. What a limit needs and was not measured is a reason."""
    if row["status"] == "unfit":
        return [f"not measured: {row['error']['message']}"]
    if row["status"] != "ok":
        error = row["error"] or {"kind": "failed", "message": ""}
        return [f"failed ({error['kind']})"]
    if row["latency_ms"]["p50"] is None:
        return [f"p50 is not supported by {row['latency_ms']['n']} samples"]
    accuracy, source = find_accuracy(row)
    checks = (
        _judge(accuracy, limits.min_accuracy, f"accuracy on the {source}", 100, "%", is_floor=True),
        _judge(row["latency_ms"]["p50"], limits.max_latency_ms, "p50", 1, "ms"),
        _judge(row["memory_mb"]["peak"], limits.max_peak_memory_mb, "peak memory", 1, "MiB"),
        _judge(row["file_bytes"], _in_bytes(limits.max_file_mb), "file", 1 / MIB, "MiB"),
    )
    return [reason for reason in checks if reason is not None]


def find_accuracy(row: Mapping[str, Any]) -> tuple[float | None, str]:
    """The accuracy that counts and where it was measured: on the device, else on the host."""
    if row["accuracy_device"] is not None:
        return row["accuracy_device"], "device"
    return row["accuracy_host"], "host"


def _judge(
    value: float | None, limit: float | None, name: str, scale: float, unit: str, *, is_floor: bool = False
) -> str | None:
    """Why a value breaks a limit, None where it keeps it or where there is no limit."""
    if limit is None:
        return None
    if value is None:
        return f"{name} was not measured"
    if (value >= limit) if is_floor else (value <= limit):
        return None
    side = "below" if is_floor else "above"
    return f"{name} {value * scale:.6g} {unit} is {side} {limit * scale:.6g} {unit}"


def _in_bytes(megabytes: float | None) -> float | None:
    return None if megabytes is None else megabytes * MIB


def _is_clearly_faster(fast: Candidate, slow: Candidate) -> bool:
    return fast.p50_ci is not None and slow.p50_ci is not None and fast.p50_ci[1] < slow.p50_ci[0]


def _describe(row: Mapping[str, Any], options: Iterable[str]) -> Candidate:
    threads = "all cores" if row["threads"] is None else f"threads {row['threads']}"
    held = {name: row["runtime_settings"].get(name) for name in options}
    words = {name: {True: "on", False: "off"}.get(value, value) for name, value in held.items()}
    told = [f"{name} {word}" for name, word in words.items() if word is not None]
    return Candidate(
        run=row["run"],
        task=row["task"],
        variant=row["variant"],
        settings=", ".join((f"{row['runtime']} {row['provider']}", threads, *told)),
        p50_ms=row["latency_ms"]["p50"],
        p50_ci=row["latency_ms"]["p50_ci"],
        accuracy=find_accuracy(row)[0],
        speedup=row["speedup"],
        flags=tuple(row["flags"]),
    )
