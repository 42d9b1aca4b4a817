"""Result rows arranged for people: a line for each variant, a group of columns for each device. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from device_agent.protocol import SINGLE_STREAM
from host.ledger.rows import read_setting
from host.report.best import Best, find_best
from host.report.cells import clean_text
from host.report.figures import Column, Line, device_columns, has_one_accuracy, variant_columns
from host.report.flags import explain_flags
from host.report.scenarios import tell_paced, tell_sustained
from host.specs.profile import OPTIONS

Row = Mapping[str, Any]

SETTINGS = ("runtime", "provider", "threads", "batch", "scenario", *OPTIONS, "run")
"""What may set rows of one variant on one device apart."""

LONGEST_MESSAGE = 400

MOST_REASONS = 4
"""Why sources gave no energy, in so many lines: where a reason holds a figure, every row has its own."""


class Group(NamedTuple):
    """The columns of one device under its heading."""

    title: str
    columns: tuple[Column, ...]


class Note(NamedTuple):
    """A line under a table; one about a column goes when the column goes."""

    text: str
    column: str | None = None


class Comparison(NamedTuple):
    """All that a table tells. `left` describes the variants, `groups` what each device made of them."""

    facts: tuple[str, ...]
    left: tuple[Column, ...]
    groups: tuple[Group, ...]
    notes: tuple[Note, ...]
    unfit: tuple[str, ...]
    failures: tuple[str, ...]
    hidden: int


def compare_rows(rows: Sequence[Row], limit: int | None = None) -> Comparison:
    """The comparison of rows as `result_rows` gives them; at most `limit` lines, the rest are counted."""
    settings = _find_apart(rows)
    apart = (["model"] if len({row["model"] for row in rows}) > 1 else []) + settings
    lines = _arrange_lines(rows, apart)
    shown = lines if limit is None else lines[:limit]
    visible = [row for line in shown for row in line.rows.values()]
    devices = list(dict.fromkeys(row["device"] for row in visible))
    emulated = {row["device"] for row in visible if row["is_emulated"]}
    best = find_best(visible)
    on_left = has_one_accuracy(shown)
    return Comparison(
        facts=tuple(tell_facts(rows, apart)),
        left=tuple(variant_columns(shown, apart, best, on_left)),
        groups=tuple(
            Group(
                _title_device(device, device in emulated),
                tuple(device_columns(device, shown, best, not on_left)),
            )
            for device in devices
        ),
        notes=tuple(_tell_notes(visible, best)),
        unfit=tuple(dict.fromkeys(_tell_unfit(row, apart) for row in visible if row["status"] == "unfit")),
        failures=tuple(_tell_failure(row, apart) for row in visible if row["status"] == "failed"),
        hidden=len(lines) - len(shown),
    )


def _arrange_lines(rows: Iterable[Row], apart: Sequence[str]) -> list[Line]:
    """The lines in the order of the rows; no row is lost, even where two differ in nothing that is told."""
    found: dict[tuple[Any, ...], Line] = {}
    listed = list(rows)
    labels = label_variants(listed, with_id="run" not in apart)
    for row in listed:
        key = (row["model"], row["variant_id"], *(read_setting(row, name) for name in apart))
        number = 0
        while (line := found.get((*key, number))) is not None and row["device"] in line.rows:
            number += 1
        if line is None:
            line = found[*key, number] = Line(labels[row["model"], row["variant_id"]], {})
        line.rows[row["device"]] = row
    return list(found.values())


def label_variants(rows: Sequence[Row], *, with_id: bool = True) -> dict[tuple[str, str], str]:
    """What each variant is called; equal names of different files get a piece of their id."""
    named = {(row["model"], row["variant_id"]): clean_text(row["variant"]) for row in rows}
    owners: dict[tuple[str, str], int] = {}
    for (model, _), label in named.items():
        owners[model, label] = owners.get((model, label), 0) + 1
    return {
        key: f"{label} #{clean_text(key[1])[:4]}" if with_id and owners[key[0], label] > 1 else label
        for key, label in named.items()
    }


def _find_apart(rows: Sequence[Row]) -> list[str]:
    """The settings that vary on a device; the provider only where the runtime does not tell it."""
    found = [name for name in SETTINGS if _varies_on_a_device(rows, name)]
    by_runtime = [[row for row in rows if row["runtime"] == one] for one in {row["runtime"] for row in rows}]
    if "runtime" in found and not any(_varies_on_a_device(group, "provider") for group in by_runtime):
        found = [name for name in found if name != "provider"]
    return found


def _varies_on_a_device(rows: Iterable[Row], name: str) -> bool:
    seen: dict[str, Any] = {}
    told = (row for row in rows if _tells(row, name))
    return any(
        seen.setdefault(row["device"], read_setting(row, name)) != read_setting(row, name) for row in told
    )


def _tells(row: Row, name: str) -> bool:
    """Whether a row says something of a setting: what a board would have chosen, it says once it has run."""
    value = read_setting(row, name)
    return value is not None or (row["status"] == "ok" and name not in OPTIONS)


def _title_device(device: str, is_emulated: bool) -> str:
    return clean_text(device) + (" (emulated)" if is_emulated else "")


def tell_facts(rows: Sequence[Row], apart: Sequence[str]) -> list[str]:
    """What all rows share, in one line; then a line for each device: its board, and what only it uses."""
    left_out = {*apart, *OPTIONS, *(["provider"] if "runtime" in apart else [])}
    names = [name for name in ("model", *SETTINGS) if name not in left_out]
    values = {
        name: {read_setting(row, name) for row in rows if _tells(row, name)} or {None} for name in names
    }
    names = [name for name in names if name != "scenario" or values[name] - {SINGLE_STREAM, None}]
    shared = [name for name in names if len(values[name]) == 1]
    own = [name for name in names if name not in shared]
    facts = [" · ".join(tell_setting(name, *values[name]) for name in shared)] if rows and shared else []
    firsts: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row["status"] != "ok"):
        firsts.setdefault(row["device"], row)
    for device in dict.fromkeys(row["device"] for row in rows):
        told = [
            clean_text(firsts[device]["board"]),
            *(tell_setting(name, firsts[device][name]) for name in own),
        ]
        facts.append(f"{clean_text(device)}: {' · '.join(told)}")
    return facts


def tell_setting(name: str, value: Any) -> str:
    if name == "threads":
        return "all cores" if value is None else f"{value} thread{'' if value == 1 else 's'}"
    if isinstance(value, bool):
        return f"{name} {'on' if value else 'off'}"
    if name in ("batch", "run"):
        return f"{name} {clean_text(value)}"
    return clean_text(value)


def _tell_notes(rows: Sequence[Row], best: Best) -> list[Note]:
    notes = [Note("* the best of its kind")] if best else []
    if any(row["accuracy_device"] is None and row["accuracy_host"] is not None for row in rows):
        notes.append(Note("† accuracy on the host: none was measured on the device", "accuracy"))
    notes += [Note(line, "energy") for line in _tell_energy(rows)]
    notes += [Note(line, "missed") for line in tell_paced(rows)]
    notes += [Note(line) for line in tell_sustained(rows)]
    flags = {flag for row in rows for flag in row["flags"]}
    emulated = {"emulated"} if any(row["is_emulated"] for row in rows) else set()
    return notes + [Note(line) for line in explain_flags(flags | emulated)]


def _tell_energy(rows: Sequence[Row]) -> list[str]:
    """Where energy comes from; and why a source gave none, each reason once."""
    powers = [row["power"] for row in rows if row["power"]["source"]]
    sources = sorted({clean_text(one["source"]) for one in powers if one["energy_mj"] is not None})
    told = [f"energy of one inference, idle included, from {', '.join(sources)}"] if sources else []
    silent = (one for one in powers if one["energy_mj"] is None)
    reasons = list(dict.fromkeys(_tell_no_energy(one["source"], one["note"]) for one in silent))
    hidden = len(reasons) - MOST_REASONS
    rest = [f"no energy for {hidden} more reasons: `power.note` of an export has all"] if hidden > 0 else []
    return told + reasons[:MOST_REASONS] + rest


def _tell_no_energy(source: str, note: str | None) -> str:
    reason = _shorten(clean_text(note)) if note else "no reason is known"
    return f"no energy from {clean_text(source)}: {reason}"


def _tell_failure(row: Row, apart: Sequence[str]) -> str:
    settings = ", ".join(tell_setting(name, read_setting(row, name)) for name in apart)
    error = row["error"] or {"kind": "unknown", "message": ""}
    where = f"{clean_text(row['device'])}: {clean_text(row['variant'])}" + (
        f" ({settings})" if settings else ""
    )
    return f"{where}: {clean_text(error['kind'])}: {_shorten(clean_text(error['message']))}"


def _tell_unfit(row: Row, apart: Sequence[str]) -> str:
    """Why a variant was not measured: the same on every device, and with whatever settings."""
    model = f" ({clean_text(row['model'])})" if "model" in apart else ""
    return f"{clean_text(row['variant'])}{model}: {clean_text(row['error']['message'])}"


def _shorten(message: str) -> str:
    """A message of a few lines; of a longer one its beginning and its end, where runtimes tell the reason."""
    half = LONGEST_MESSAGE // 2
    return message if len(message) <= LONGEST_MESSAGE else f"{message[:half]} … {message[-half:]}"
