"""What `bench check` found: on the terminal, and as a summary for a pull request."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from host.ledger.guarding import Check, Checked, Guards, Keeping
from host.ledger.ranking import MIB
from host.report import cells
from host.report.contrasts import tell_difference
from host.report.figures import Column, make_column
from host.report.markdown import escape, tell_table
from host.report.output import open_text

MARKS: dict[Keeping, str] = {"broken": "❌", "cannot tell": "❔", "kept": "✅"}
STYLES: dict[Keeping, str] = {"broken": "red", "cannot tell": "yellow", "kept": "green"}
HEADLINES: dict[Keeping, str] = {
    "broken": "Limits are broken",
    "cannot tell": "No limit is known to be broken",
    "kept": "All limits are kept",
}
MOST_KEPT = 60


def print_check(check: Check) -> None:
    """Print what a check found on standard output: what is broken first, with its reasons."""
    from host.report.exporting import open_console
    from host.report.table import print_lines

    console = open_console(sys.stdout)
    print_lines(console, [tell_headline(check)], "bold")
    print_lines(console, [f"limits: {tell_guards(check.guards)}"], "dim")
    print_lines(console, [*tell_notes(check), *tell_unequal(check)], "yellow")
    for verdict in ("broken", "cannot tell", "kept"):
        found = [one for one in check.checked if one.verdict == verdict]
        if found:
            print_lines(console, [f"{len(found)} {verdict}:"], f"bold {STYLES[verdict]}")
            print_lines(console, list(_tell_all(found, verdict)), STYLES[verdict])


def _tell_all(found: Sequence[Checked], verdict: Keeping) -> Iterator[str]:
    """A line for each, and below it the reasons of what is not kept; of many kept ones the first."""
    shown = found[:MOST_KEPT] if verdict == "kept" else found
    for one in shown:
        yield f"  {tell_name(one)}"
        yield from (f"    {line}" for line in tell_reasons(one))
    if len(found) > len(shown):
        yield f"  … and {len(found) - len(shown)} more"


def tell_headline(check: Check) -> str:
    told = f"{HEADLINES[check.verdict]}: run {check.run} beside {check.baseline}"
    named = "" if check.baseline in check.baseline_run else f" (run {check.baseline_run})"
    again = f"; what failed was measured again in run {check.again}" if check.again else ""
    return cells.clean_text(f"{told}{named}{again}")


def tell_guards(guards: Guards) -> str:
    """The limits as one would write them."""
    told = {
        "max-slowdown": _percent(guards.max_slowdown),
        "max-latency": None if guards.max_latency_ms is None else f"{guards.max_latency_ms:g}ms",
        "max-accuracy-drop": None
        if guards.max_accuracy_drop is None
        else f"{guards.max_accuracy_drop:g} points",
        "max-memory": _mib(guards.max_memory_bytes),
        "max-memory-growth": _percent(guards.max_memory_growth),
        "max-energy-growth": _percent(guards.max_energy_growth),
        "max-size": _mib(guards.max_size_bytes),
    }
    return ", ".join(f"{name} {value}" for name, value in told.items() if value is not None)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:g}%"


def _mib(size: float | None) -> str | None:
    return None if size is None else f"{size / MIB:.4g}MiB"


def tell_notes(check: Check) -> list[str]:
    return [cells.clean_text(note) for note in check.notes]


def tell_unequal(check: Check) -> list[str]:
    """What differs between the baseline (A) and the run (B) beside what was to be tested."""
    if not check.unlike:
        return []
    pairs = sum(one.contrast is not None for one in check.checked)
    return [
        "Not all is equal between the baseline (A) and the run (B):",
        *(tell_difference(one, pairs) for one in check.unlike),
    ]


def tell_name(one: Checked) -> str:
    return cells.clean_text(f"{one.device}: {one.model} {one.variant} ({one.settings})")


def tell_reasons(one: Checked) -> list[str]:
    """Why it is not kept, limit by limit; nothing of the limits that it keeps."""
    return [
        cells.clean_text(f"{judged.limit}: {judged.text}")
        for judged in one.judgements
        if judged.verdict == one.verdict != "kept" or judged.verdict == "broken"
    ]


def write_summary(check: Check, file: Path) -> None:
    """Write the summary for a pull request; the file appears only when it is whole."""
    with open_text(file) as stream:
        stream.write("\n".join(_tell_summary(check)) + "\n")


def _tell_summary(check: Check) -> Iterator[str]:
    yield f"### {MARKS[check.verdict]} {escape(tell_headline(check))}"
    yield from ("", f"Limits: {escape(tell_guards(check.guards))}")
    notes = [*tell_notes(check), *tell_unequal(check)]
    if notes:
        yield from ("", *(f"- {escape(line.strip())}" for line in notes))
    troubled = [one for one in check.checked if one.verdict != "kept"]
    if troubled:
        yield ""
        for one in troubled:
            yield f"- {MARKS[one.verdict]} **{escape(tell_name(one))}**"
            yield from (f"  - {escape(line)}" for line in tell_reasons(one))
    yield from ("", "<details><summary>All measurements</summary>", "")
    yield from tell_table(list(_summary_columns(check.checked)))
    yield from ("", "</details>")


def _summary_columns(checked: Sequence[Checked]) -> Iterator[Column]:
    yield make_column("verdict", "", [f"{MARKS[one.verdict]} {one.verdict}" for one in checked], "left")
    yield make_column("name", "measurement", [tell_name(one) for one in checked], "left")
    yield make_column("ratio", "latency, run / baseline", [_tell_ratio(one) for one in checked])
    yield make_column("accuracy", "accuracy %", [_tell_accuracy(one) for one in checked])
    yield make_column("memory", "peak MiB", [_tell_memory(one) for one in checked])


def _tell_ratio(one: Checked) -> str:
    """The ratio with its interval; that of a second measurement after the first."""
    told = [
        f"{found.latency.ratio:.3f} [{found.latency.low:.3f}–{found.latency.high:.3f}]"
        for found in (one.contrast, one.again_contrast)
        if found is not None and found.latency is not None
    ]
    return ", again ".join(told) or cells.MISSING


def _tell_accuracy(one: Checked) -> str:
    if one.second is None:
        return cells.MISSING
    change = one.contrast.changes.accuracy_points if one.contrast is not None else None
    return cells.format_accuracy(one.second.accuracy, change)


def _tell_memory(one: Checked) -> str:
    return cells.format_number(one.second.memory_mb if one.second is not None else None, 1)
