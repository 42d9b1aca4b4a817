"""`bench check` on what is stored: a run beside its baseline, and what fails beside a second measurement."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from host.errors import BenchError, Interrupted, UsageError
from host.ledger.comparing import compare_latency
from host.ledger.contrast import ReadSamples, contrast_rows, describe_lonely, describe_side
from host.ledger.fairness import count_unlike
from host.ledger.guarding import (
    Check,
    Checked,
    Guards,
    find_gravest,
    judge_again,
    judge_missing,
    judge_present,
)
from host.ledger.matching import Matched, Row, match_strictly
from host.ledger.ranking import find_accuracy
from host.ledger.records import RunRecord
from host.ledger.rows import result_rows
from host.ledger.sides import find_reference, reading
from host.ledger.store import Ledger

Repeat = Callable[[RunRecord, Collection[str]], str]
"""Measures tasks of a run once more, and returns the run that holds them."""


@dataclass(frozen=True)
class Scale:
    """What measurements are judged by."""

    guards: Guards
    read: ReadSamples
    runs: Mapping[str, RunRecord]


def check_run(
    ledger: Ledger, baseline_text: str, run_text: str | None, guards: Guards, repeat: Repeat | None = None
) -> Check:
    """A run, by default the newest one that measured anything, judged by a baseline.

    What fails and may be chance is measured once more by `repeat`, and then judged by both measurements.
    """
    baseline = find_reference(ledger, baseline_text)
    run = find_checked(ledger, baseline, run_text)
    before, after = (result_rows(ledger, one.id) for one in (baseline, run))
    if not after:
        raise UsageError(f"run {run.id} measured nothing", "`bench sweep` measures, --run names another run.")
    matched = match_strictly(before, after)
    settled = choose_defaults(matched) if guards.is_empty else guards
    scale = Scale(settled, reading(ledger), {one.id: one for one in (baseline, run)})
    checked = judge_rows(matched, scale)
    again, notes = _repeat_failing(run, checked, repeat)
    if again is not None:
        checked = judge_once_more(checked, matched, result_rows(ledger, again), scale)
    return Check(
        baseline=baseline_text,
        baseline_run=baseline.id,
        run=run.id,
        again=again,
        guards=settled,
        verdict=find_gravest(one.verdict for one in checked),
        unlike=count_unlike([one.unlike for one in checked]),
        checked=tuple(checked),
        notes=(*tell_state(run), *notes),
    )


def find_checked(ledger: Ledger, baseline: RunRecord, text: str | None) -> RunRecord:
    """The run to check. Raises UsageError where it is the baseline itself."""
    run = ledger.find_measured_run() if text is None else find_reference(ledger, text)
    if run.id == baseline.id:
        found = "the newest run is the baseline itself" if text is None else "both are the same run"
        raise UsageError(f"{found}: {run.id}", "Measure a new run first, or name one with --run.")
    return run


def choose_defaults(matched: Matched) -> Guards:
    """What is guarded where no limit is named: 5 % of latency, and half a point of accuracy if known."""
    has_accuracy = any(find_accuracy(row)[0] is not None for pair in matched.pairs for row in pair)
    return Guards(max_slowdown=0.05, max_accuracy_drop=0.5 if has_accuracy else None)


def judge_rows(matched: Matched, scale: Scale) -> list[Checked]:
    """Every pair, then what only the run has, then what only the baseline has."""
    pairs = (_judge_row(*pair, scale) for pair in matched.pairs)
    fresh = (_judge_row(None, row, scale) for row in matched.only_second)
    return [*pairs, *fresh, *(judge_missing(describe_lonely(row)) for row in matched.only_first)]


def _judge_row(first: Row | None, second: Row, scale: Scale) -> Checked:
    contrast = None if first is None else contrast_rows(first, second, "run", scale.read, scale.runs)
    accuracy = find_accuracy(second)[0]
    return judge_present(describe_side(second, accuracy), contrast, describe_lonely(second), scale.guards)


def _repeat_failing(
    run: RunRecord, checked: Iterable[Checked], repeat: Repeat | None
) -> tuple[str | None, tuple[str, ...]]:
    """The run that measured the failing tasks once more; or, where that was not possible, why."""
    failing = [one.second.task for one in checked if one.is_worth_repeating and one.second is not None]
    if repeat is None or not failing:
        return None, ()
    try:
        return repeat(run, failing), ()
    except Interrupted:
        raise
    except BenchError as error:
        return None, (f"what failed could not be measured again: {error.message}",)


def judge_once_more(
    checked: Sequence[Checked], matched: Matched, rows: Sequence[Row], scale: Scale
) -> list[Checked]:
    """The verdicts after a second measurement of some tasks; the others stay as they are."""
    again = {row["task"]: row for row in rows}
    before = {second["task"]: first for first, second in matched.pairs}
    judged = []
    for one in checked:
        row = again.get(one.second.task) if one.second is not None and one.is_worth_repeating else None
        judged.append(one if row is None else _judge_repeated(one, before.get(row["task"]), row, scale))
    return judged


def _judge_repeated(checked: Checked, first: Row | None, row: Row, scale: Scale) -> Checked:
    side = describe_side(row, find_accuracy(row)[0])
    if first is None:
        return judge_again(checked, side, None, scale.guards)
    contrast = contrast_rows(first, row, "run", scale.read, scale.runs)
    both = None
    if checked.second is not None and contrast.reason is None:
        measured = {"run": checked.second.run, "task": checked.second.task}
        rounds = [*scale.read(measured), *scale.read(row)]
        both = compare_latency(scale.read(first), rounds, interleaved=False)
    return judge_again(checked, side, contrast, scale.guards, both)


def tell_state(run: RunRecord) -> Iterable[str]:
    """A line where the run did not end as it should."""
    if run.status != "completed":
        yield f"run {run.id} is {run.status}: what it has not measured counts as missing"
