"""The facts of a board in a few short lines, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from host.ledger.ranking import MIB
from host.report.cells import MISSING

Facts = Mapping[str, Any]

_BETWEEN = " · "


def summarize_board(facts: Facts) -> dict[str, Any]:
    """Names and values in the order in which a reader asks; what no line tells comes last as it is."""
    found = {
        "board": facts.get("board"),
        **_describe_chip(facts),
        "processor": _say_processor(facts),
        **_list_clusters(facts.get("clusters") or (), facts.get("cpu_model")),
        "memory": _join(_say("{:,.0f} MiB", facts.get("memory_mb")), _say_swap(facts.get("swap_mb"))),
        "system": _say_system(facts),
        **_describe_jetson(facts),
        "temperature": _say_temperature(facts),
        **_describe_power(facts.get("power_sources") or ()),
        "python": _join(_say("{}", facts.get("python")), facts.get("implementation")),
        **_describe_runtimes(facts.get("runtimes") or {}),
        "free disk": _say("{:,.0f} MiB", _divide(facts.get("free_bytes"), MIB)),
        "agent": _join(facts.get("agent_version"), "as root" if facts.get("is_root") else None),
        **_list_root_only(facts.get("root_would_add") or ()),
    }
    return found | {name: value for name, value in facts.items() if name not in _TOLD}


_TOLD = {
    "board",
    "soc",
    "gpu",
    "cpu_model",
    "cores",
    "offline_cores",
    "clusters",
    "memory_mb",
    "swap_mb",
    "os",
    "kernel",
    "libc",
    "machine",
    "governor",
    "l4t",
    "jetpack",
    "nvpmodel",
    "jetson_clocks",
    "temperature_c",
    "thermal_zones",
    "power_sources",
    "python",
    "implementation",
    "runtimes",
    "free_bytes",
    "agent_version",
    "schema_version",
    "is_root",
    "root_would_add",
}


def _join(*parts: str | None) -> str:
    return _BETWEEN.join(part for part in parts if part) or MISSING


def _say(text: str, value: Any) -> str | None:
    return None if value is None else text.format(value)


def _divide(value: float | None, by: float) -> float | None:
    return None if value is None else value / by


def _unless(text: str | None, known: str | None) -> str | None:
    """The text, where another line does not say it already."""
    return None if text == known else text


def _describe_chip(facts: Facts) -> dict[str, str]:
    """Nothing where the processor is all there is, as on most of x86."""
    told = _join(_unless(facts.get("soc"), facts.get("cpu_model")), facts.get("gpu"))
    is_processor = told == MISSING and facts.get("soc") is not None
    return {} if is_processor else {"chip": told}


def _say_processor(facts: Facts) -> str:
    usable = "1 core usable" if facts.get("cores") == 1 else _say("{} cores usable", facts.get("cores"))
    offline = facts.get("offline_cores")
    return _join(facts.get("cpu_model"), usable, f"{list_ranges(offline)} offline" if offline else None)


def _list_clusters(clusters: Sequence[Facts], cpu_model: str | None) -> dict[str, str]:
    return {f"cores {list_ranges(one['cores'])}": _say_cluster(one, cpu_model) for one in clusters}


def _say_cluster(cluster: Facts, cpu_model: str | None) -> str:
    able = _say_range(cluster.get("min_mhz"), cluster.get("max_mhz"))
    allowed = _say_range(cluster.get("allowed_min_mhz"), cluster.get("allowed_max_mhz"))
    return _join(
        _unless(cluster.get("core_type"), cpu_model),
        _say("{} MHz", able),
        _say("now allowed {}", allowed) if allowed != able else None,
        _say("at {:,.0f} MHz", cluster.get("current_mhz")),
        cluster.get("governor"),
        _say("capacity {}", cluster.get("capacity")),
    )


def _say_range(low: float | None, high: float | None) -> str | None:
    if low is None and high is None:
        return None
    return "–".join(_say("{:,.0f}", value) or "?" for value in (low, high))


def _say_swap(megabytes: float | None) -> str | None:
    return "no swap" if megabytes == 0 else _say("{:,.0f} MiB swap", megabytes)


def _say_system(facts: Facts) -> str:
    libc = facts.get("libc") or {}
    kernel = _say("Linux {}", facts.get("kernel"))
    c_library = _say("{} {}".format("{}", libc.get("version")), libc.get("name"))
    return _join(facts.get("os"), kernel, c_library, facts.get("machine"))


def _describe_jetson(facts: Facts) -> dict[str, str]:
    found = {"release": _join(_say("L4T {}", facts.get("l4t")), _say("JetPack {}", facts.get("jetpack")))}
    if facts.get("nvpmodel") or facts.get("jetson_clocks"):
        found["power mode"] = _say_mode(facts.get("nvpmodel") or {}, facts.get("jetson_clocks") or {})
    return found if "power mode" in found or found["release"] != MISSING else {}


def _say_mode(mode: Facts, clocks: Facts) -> str:
    held = {None: None, True: "clocks held by jetson_clocks", False: "clocks not held by jetson_clocks"}
    return _join(
        mode.get("mode"),
        _say("mode {}", mode.get("mode_id")),
        held[clocks.get("pinned")],
        _say("GPU at {:,.0f} MHz", clocks.get("gpu_mhz")),
        _say("allowed {:,.0f} MHz", clocks.get("gpu_max_mhz")),
        _say("memory at {:,.0f} MHz", clocks.get("emc_mhz")),
    )


def _say_temperature(facts: Facts) -> str:
    return _join(
        _say("processor {:.1f} °C", facts.get("temperature_c")),
        *(_say_zone(zone) for zone in facts.get("thermal_zones") or ()),
    )


def _say_zone(zone: Facts) -> str:
    """The reading, and the lowest temperature of each kind of trip point."""
    lowest: dict[str, float] = {}
    for trip in zone.get("trips") or ():
        lowest[trip["kind"]] = min(trip["temperature_c"], lowest.get(trip["kind"], trip["temperature_c"]))
    trips = ", ".join(f"{kind} {degrees:g}" for kind, degrees in lowest.items())
    reading = _say("{:.1f}", zone.get("temperature_c")) or MISSING
    return f"{zone['name']} {reading}" + (f" ({trips})" if trips else "")


def _describe_power(sources: Sequence[Facts]) -> dict[str, str]:
    if not sources:
        return {"power": "no source"}
    return {f"power {one['name']}": _say_source(one) for one in sources}


def _say_source(source: Facts) -> str:
    """Whatever it tells of itself beside its name."""
    others = {name: value for name, value in source.items() if name not in ("name", "readable", "note")}
    told = (
        f"{name}: {_say_value(value)}" for name, value in others.items() if value not in (None, (), [], "")
    )
    return _join("can be read" if source.get("readable") else "cannot be read", source.get("note"), *told)


def _say_value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _describe_runtimes(runtimes: Mapping[str, Facts]) -> dict[str, str]:
    if not runtimes:
        return {"runtimes": "none yet: a sweep sends what it needs"}
    return {name: _say_runtime(told) for name, told in runtimes.items()}


def _say_runtime(runtime: Facts) -> str:
    others = {
        name: value for name, value in runtime.items() if name not in ("version", "providers", "max_opset")
    }
    return _join(
        runtime.get("version"),
        ", ".join(runtime.get("providers") or ()) or None,
        _say("opset up to {}", runtime.get("max_opset")),
        *(
            f"{name}: {_say_value(value)}"
            for name, value in others.items()
            if value not in (None, (), [], "")
        ),
    )


def _list_root_only(sentences: Sequence[str]) -> dict[str, str]:
    return {f"root would add {number}": sentence for number, sentence in enumerate(sentences, 1)}


def list_ranges(numbers: Iterable[int]) -> str:
    """`0-3,6` for 0, 1, 2, 3 and 6."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs) or MISSING
