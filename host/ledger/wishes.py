"""What is wished of a variant, and how far it is kept: its figures, and every limit that is missed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from host.ledger.contrast import tell_settings
from host.ledger.ranking import MIB, find_accuracy
from host.specs.profile import Limits
from host.specs.record import Record

Row = Mapping[str, Any]
Goal = Literal["latency", "energy", "size", "memory", "power", "accuracy"]
Percentile = Literal["p50", "p90", "p95", "p99", "p999"]


class Wishes(Record):
    """The limits, and the figure by which those that keep them are ranked.

    Latency is judged by `percentile`. Power is the mean under load, memory the peak of the process, size
    that of the file.
    """

    max_latency_ms: float | None = None
    min_accuracy: float | None = None
    max_power_w: float | None = None
    max_energy_mj: float | None = None
    max_memory_bytes: float | None = None
    max_size_bytes: float | None = None
    goal: Goal = "latency"
    percentile: Percentile = "p50"


def describe_wishes(limits: Limits | None) -> Wishes:
    """The limits of a profile, as what is wished for of the fastest."""
    if limits is None:
        return Wishes()
    return Wishes(
        max_latency_ms=limits.max_latency_ms,
        min_accuracy=limits.min_accuracy,
        max_memory_bytes=_in_bytes(limits.max_peak_memory_mb),
        max_size_bytes=_in_bytes(limits.max_file_mb),
    )


def _in_bytes(megabytes: float | None) -> float | None:
    return None if megabytes is None else megabytes * MIB


class Choice(Record):
    """One measured variant with the figures that decide. `near` says of which limits it is within noise."""

    run: str
    task: str
    device: str
    variant: str
    settings: str
    accuracy: float | None
    accuracy_source: str
    latency_ms: float | None
    p50_ci: tuple[float, float] | None
    file_bytes: int
    packed_bytes: int | None
    memory_mb: float | None
    power_w: float | None
    energy_mj: float | None
    flags: tuple[str, ...]
    near: tuple[str, ...]
    on_front: bool


class Miss(Record):
    """A limit that is not kept. `excess` is by what share of the limit, None where nothing was measured."""

    limit: str
    text: str
    excess: float | None


def describe_choice(row: Row, wishes: Wishes, on_front: bool) -> Choice:
    """A row by the figures that decide, and the limits that its interval lies across."""
    latency, (accuracy, source) = row["latency_ms"], find_accuracy(row)
    return Choice(
        run=row["run"],
        task=row["task"],
        device=row["device"],
        variant=row["variant"],
        settings=tell_settings(row),
        accuracy=accuracy,
        accuracy_source=source,
        latency_ms=latency[wishes.percentile],
        p50_ci=latency["p50_ci"],
        file_bytes=row["file_bytes"],
        packed_bytes=row["packed_bytes"],
        memory_mb=row["memory_mb"]["peak"],
        power_w=row["power"]["load_w"],
        energy_mj=row["power"]["energy_mj"],
        flags=tuple(flag for flag in row["flags"] if flag != "emulated"),
        near=tuple(_find_near(latency, wishes)),
        on_front=on_front,
    )


def _find_near(latency: Mapping[str, Any], wishes: Wishes) -> Iterator[str]:
    """Only p50 has an interval; of other figures nobody knows how near they are."""
    interval, limit = latency["p50_ci"], wishes.max_latency_ms
    if limit is not None and wishes.percentile == "p50" and interval and interval[0] <= limit < interval[1]:
        yield "max-latency"


def find_misses(row: Row, choice: Choice, wishes: Wishes) -> Iterator[Miss]:
    """Why a row cannot win, each limit with its value; nothing where it can.

    What a limit or the goal needs and was not measured is a reason too.
    """
    if row["status"] != "ok":
        error = row["error"] or {"kind": "failed", "message": ""}
        word = "not measured" if row["status"] == "unfit" else f"failed ({error['kind']})"
        yield Miss(limit="measured", text=f"{word}: {error['message']}", excess=None)
        return
    count = row["latency_ms"]["n"]
    lacking = f"{wishes.percentile} is not supported by {count} samples"
    checks = (
        _judge(
            "max-latency", wishes.percentile, choice.latency_ms, wishes.max_latency_ms, "ms", lacking=lacking
        ),
        _judge(
            "min-accuracy",
            f"accuracy on the {choice.accuracy_source}",
            _percent(choice.accuracy),
            _percent(wishes.min_accuracy),
            "%",
            is_floor=True,
        ),
        _judge("max-power", "power", choice.power_w, wishes.max_power_w, "W"),
        _judge("max-energy", "energy per inference", choice.energy_mj, wishes.max_energy_mj, "mJ"),
        _judge("max-memory", "peak memory", choice.memory_mb, _in_mib(wishes.max_memory_bytes), "MiB"),
        _judge("max-size", "file", choice.file_bytes / MIB, _in_mib(wishes.max_size_bytes), "MiB"),
    )
    yield from (miss for miss in checks if miss is not None)
    if find_figure(choice, wishes.goal) is None:
        verb = "maximized" if wishes.goal == "accuracy" else "minimized"
        told = lacking if wishes.goal == "latency" else f"{wishes.goal} was not measured"
        yield Miss(limit=wishes.goal, text=f"{told}, and it is what is {verb}", excess=None)


def _judge(
    limit_name: str,
    what: str,
    value: float | None,
    limit: float | None,
    unit: str,
    *,
    is_floor: bool = False,
    lacking: str | None = None,
) -> Miss | None:
    if not limit:  # every accuracy keeps a floor of 0, measured or not
        return None
    if value is None:
        return Miss(limit=limit_name, text=lacking or f"{what} was not measured", excess=None)
    if (value >= limit) if is_floor else (value <= limit):
        return None
    side = "below" if is_floor else "above"
    told = f"{what} {value:.5g} {unit} is {side} {limit:.6g} {unit}"
    return Miss(limit=limit_name, text=told, excess=abs(value - limit) / limit)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _in_mib(size: float | None) -> float | None:
    return None if size is None else size / MIB


def find_figure(choice: Choice, goal: Goal) -> float | None:
    """The figure that is ranked by."""
    return {
        "latency": choice.latency_ms,
        "energy": choice.energy_mj,
        "size": float(choice.file_bytes),
        "memory": choice.memory_mb,
        "power": choice.power_w,
        "accuracy": choice.accuracy,
    }[goal]
