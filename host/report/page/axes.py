"""The axes of a sweep and what came of them, for a plot that shows all of them side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from host.ledger.records import RunRecord
from host.report.cells import clean_text
from host.report.page.entries import Arranged, Entry
from host.report.page.measures import MEASURES

Value = float | str | None
Chain = Mapping[str, Any]

OUTCOMES = ("accuracy", "p50", "peak", "energy", "file", "packed")
NONE = "none"


class Axis(NamedTuple):
    """One axis with a value for each entry: numbers, or words. `better` is None for what a profile chose."""

    title: str
    better: str | None
    values: tuple[Value, ...]

    @property
    def is_number(self) -> bool:
        return all(value is None or isinstance(value, int | float) for value in self.values)


def list_axes(arranged: Arranged, runs: Sequence[RunRecord]) -> tuple[Axis, ...]:
    """Every axis on which two rows of a group differ: first what was chosen, then what came of it."""
    chains = {(run.id, one["id"]): one["variant"] for run in runs for one in _list_planned(run)}
    told = {
        title: read for title, read in _CHOSEN.items() if title != ("precision" if chains else "quantized")
    }
    entries = arranged.entries
    chosen = [
        Axis(title, None, tuple(read(entry, chains) for entry in entries)) for title, read in told.items()
    ]
    came = [
        Axis(f"{one.title} {one.unit}".strip(), one.better, tuple(one.read(entry.row) for entry in entries))
        for one in MEASURES
        if one.key in OUTCOMES
    ]
    return tuple(axis for axis in (*chosen, *came) if _differs(axis, entries))


def _list_planned(run: RunRecord) -> list[dict[str, Any]]:
    """The variants of a plan; a file that is measured as it is has no chain."""
    planned = run.plan.get("variants")
    return [
        one
        for one in (planned if isinstance(planned, list) else [])
        if isinstance(one, dict) and isinstance(one.get("variant"), dict) and "id" in one
    ]


def _find_chain(entry: Entry, chains: Mapping[tuple[str, str], Chain]) -> Chain | None:
    return chains.get((entry.row["run"], entry.row["variant_id"]))


def _read_prune(key: str) -> Callable[[Entry, Mapping[tuple[str, str], Chain]], Value]:
    def read(entry: Entry, chains: Mapping[tuple[str, str], Chain]) -> Value:
        chain = _find_chain(entry, chains)
        if chain is None:
            return None
        found = (chain.get("prune") or {}).get(key)
        return NONE if found is None else clean_text(found)

    return read


def _read_scheme(entry: Entry, chains: Mapping[tuple[str, str], Chain]) -> Value:
    """How it is quantized; of mixed bits which."""
    chain = _find_chain(entry, chains)
    if chain is None:
        return None
    quantize = chain.get("quantize") or {}
    if quantize.get("scheme") == "mixed":
        return clean_text(f"w{quantize.get('weights')}a{quantize.get('activations')}")
    return clean_text(quantize.get("scheme") or NONE)


def _read_sparsity(entry: Entry, _chains: Any) -> Value:
    """What was asked for, in percent; what was reached where nobody asked."""
    row = entry.row
    found = row["sparsity_target"] if row["sparsity_target"] is not None else row["sparsity"]
    return None if found is None else round(100 * found, 4)


def _read_threads(entry: Entry, _chains: Any) -> Value:
    threads = entry.row["threads"]
    return None if threads is None else float(threads)


_CHOSEN: dict[str, Callable[[Entry, Mapping[tuple[str, str], Chain]], Value]] = {
    "pruned": _read_prune("granularity"),
    "criterion": _read_prune("criterion"),
    "schedule": _read_prune("schedule"),
    "sparsity %": _read_sparsity,
    "quantized": _read_scheme,
    "precision": lambda entry, _chains: clean_text(entry.row["precision"]),
    "runtime": lambda entry, _chains: clean_text(entry.row["runtime"]),
    "provider": lambda entry, _chains: clean_text(entry.row["provider"]),
    "threads": _read_threads,
}


def _differs(axis: Axis, entries: Sequence[Entry]) -> bool:
    seen: dict[int, Value] = {}
    return any(
        value is not None and seen.setdefault(entry.group, value) != value
        for entry, value in zip(entries, axis.values, strict=True)
    )
