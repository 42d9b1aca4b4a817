"""Whether a run keeps its limits beside a baseline: broken, kept, or nobody can tell. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from host.ledger.comparing import BETWEEN_RUNS, Difference
from host.ledger.contrast import Contrast, Lonely, Side
from host.ledger.fairness import Told, Unlike
from host.ledger.ranking import MIB
from host.specs.record import Record

Keeping = Literal["kept", "broken", "cannot tell"]
GRAVITY: tuple[Keeping, ...] = ("broken", "cannot tell", "kept")
"""The verdict of several limits is the gravest of theirs."""

CHANGING = ("measured", "max-slowdown", "max-latency", "max-memory", "max-memory-growth", "max-energy-growth")
"""Limits on what another measurement may find otherwise; a file keeps its size, and a model its accuracy."""


class Guards(Record):
    """The limits of a check, None where there is none. Slowdown and growth are shares of the baseline.

    `max_accuracy_drop` is in percentage points, `max_latency_ms` is a limit on p50.
    """

    max_slowdown: float | None = None
    max_latency_ms: float | None = None
    max_accuracy_drop: float | None = None
    max_memory_bytes: float | None = None
    max_memory_growth: float | None = None
    max_energy_growth: float | None = None
    max_size_bytes: float | None = None

    @property
    def is_empty(self) -> bool:
        return not self.model_dump(exclude_none=True)


class Judgement(Record):
    """What one limit says of one measurement, and why. `limit` is named as its option is."""

    limit: str
    verdict: Keeping
    text: str


class Checked(Record):
    """One measurement that the baseline has, or the run, or both, and how it keeps the limits.

    `second` is that of the run, None where it is missing; `contrast` puts it beside the baseline's, None
    where that has none. `again` is a second measurement and `again_contrast` puts it beside the baseline's;
    `judgements` are the last word: of a limit that the first one broke, what the second one says.
    """

    device: str
    model: str
    variant: str
    settings: str
    verdict: Keeping
    judgements: tuple[Judgement, ...]
    second: Side | None
    contrast: Contrast | None
    again: Side | None = None
    again_contrast: Contrast | None = None

    @property
    def is_worth_repeating(self) -> bool:
        """Whether a limit is broken, and none that another measurement cannot mend."""
        broken = {one.limit for one in self.judgements if one.verdict == "broken"}
        return self.second is not None and bool(broken) and broken <= set(CHANGING)

    @property
    def unlike(self) -> tuple[Unlike, ...]:
        told = self.again_contrast or self.contrast
        return told.unlike if told is not None else ()


class Check(Record):
    """All that `bench check` tells. `again` is the run of the second measurements.

    `notes` say what a reader must know beside the verdicts.
    """

    baseline: str
    baseline_run: str
    run: str
    again: str | None
    guards: Guards
    verdict: Keeping
    unlike: tuple[Told, ...]
    checked: tuple[Checked, ...]
    notes: tuple[str, ...]


def judge_missing(lonely: Lonely) -> Checked:
    """What the baseline has and the run has not: where the baseline measured it, that is a failure."""
    is_measured = lonely.status == "ok"
    text = "the baseline has it, and the run has not" if is_measured else f"it was {lonely.status} before too"
    verdict: Keeping = "broken" if is_measured else "kept"
    return Checked(
        **lonely.model_dump(exclude={"status"}),
        verdict=verdict,
        judgements=(Judgement(limit="measured", verdict=verdict, text=text),),
        second=None,
        contrast=None,
    )


def judge_present(second: Side, contrast: Contrast | None, lonely: Lonely, guards: Guards) -> Checked:
    """A measurement of the run, judged by every limit; without `contrast`, by those that need no baseline."""
    judgements = judge_limits(second, contrast, guards)
    return Checked(
        **lonely.model_dump(exclude={"status"}),
        verdict=find_gravest(one.verdict for one in judgements),
        judgements=judgements,
        second=second,
        contrast=contrast,
    )


def judge_again(
    checked: Checked,
    again: Side,
    contrast: Contrast | None,
    guards: Guards,
    both: Difference | None = None,
) -> Checked:
    """What a second measurement leaves of the first one's verdict.

    A limit that the first broke is broken if the second breaks it too; where the second alone cannot tell of
    latency, `both` together decide, beside the baseline. One that the first kept stays kept: looking twice
    shall not find more false alarms than looking once.
    """
    later = [_consult(one, both, guards.max_slowdown) for one in judge_limits(again, contrast, guards)]
    if again.status != "ok":
        judgements = tuple(_add_failure(one, again) for one in checked.judgements)
    elif checked.second is not None and checked.second.status != "ok":
        text = f"at first it {checked.second.reason}; measured again, it ran"
        judgements = (Judgement(limit="measured", verdict="cannot tell", text=text), *later)
    else:
        by_limit = {one.limit: one for one in later}
        judgements = tuple(_settle(one, by_limit[one.limit]) for one in checked.judgements)
    return checked.model_copy(
        update={
            "judgements": judgements,
            "verdict": find_gravest(one.verdict for one in judgements),
            "again": again,
            "again_contrast": contrast,
        }
    )


def _consult(second: Judgement, both: Difference | None, limit: float | None) -> Judgement:
    """What both measurements together say of a slowdown that the second one alone leaves open."""
    if second.limit != "max-slowdown" or second.verdict != "cannot tell" or both is None or limit is None:
        return second
    told = f"{second.text}; both together {tell_ratio(both)}"
    is_beyond = both.low > 1 + max(limit, BETWEEN_RUNS)
    return second.model_copy(update={"text": told, "verdict": "broken" if is_beyond else "cannot tell"})


def _add_failure(first: Judgement, second: Side) -> Judgement:
    if first.verdict != "broken":
        return first
    return first.model_copy(update={"text": f"{first.text}; measured again, it {second.reason}"})


def _settle(first: Judgement, second: Judgement) -> Judgement:
    if first.verdict != "broken":
        return first
    told = "and again" if second.verdict == "broken" else "but not when measured again"
    return second.model_copy(update={"text": f"{first.text}; {told}: {second.text}"})


def find_gravest(verdicts: Iterable[Keeping]) -> Keeping:
    """The gravest of verdicts; `kept` where there are none."""
    found = set(verdicts)
    return next((verdict for verdict in GRAVITY if verdict in found), "kept")


def judge_limits(second: Side, contrast: Contrast | None, guards: Guards) -> tuple[Judgement, ...]:
    """What each limit that is set says; of a measurement that failed, only that it did."""
    if second.status != "ok":
        return (_judge_failure(second, contrast),)
    judged = [
        _judge_latency(second, guards.max_latency_ms),
        _judge_ceiling("max-memory", "peak memory", second.memory_mb, _in_mib(guards.max_memory_bytes)),
        _judge_ceiling("max-size", "the file", second.file_bytes / MIB, _in_mib(guards.max_size_bytes)),
    ]
    if contrast is not None:
        judged = [*_judge_changes(contrast, guards), *judged]
    return tuple(one for one in judged if one is not None)


def _judge_changes(contrast: Contrast, guards: Guards) -> Iterator[Judgement | None]:
    """The limits that need a baseline."""
    first, second, changes = contrast.first, contrast.second, contrast.changes
    yield _judge_slowdown(contrast, guards.max_slowdown)
    yield _judge_drop(contrast, guards.max_accuracy_drop)
    memory = Growth("peak memory", "MiB", first.memory_mb, second.memory_mb, changes.memory)
    yield _judge_growth("max-memory-growth", memory, guards.max_memory_growth)
    energy = Growth("energy per inference", "mJ", first.energy_mj, second.energy_mj, changes.energy)
    yield _judge_growth("max-energy-growth", energy, guards.max_energy_growth)


def _in_mib(size: float | None) -> float | None:
    return None if size is None else size / MIB


def _judge_failure(second: Side, contrast: Contrast | None) -> Judgement:
    if contrast is not None and contrast.first.status != "ok":
        return Judgement(
            limit="measured", verdict="kept", text=f"it {second.reason}; it was no better before"
        )
    return Judgement(limit="measured", verdict="broken", text=f"it {second.reason}")


def _judge_slowdown(contrast: Contrast, limit: float | None) -> Judgement | None:
    """Broken only where the whole interval lies beyond the limit, and beyond what equal programs show."""
    if limit is None:
        return None
    name, found = "max-slowdown", contrast.latency
    if found is None or contrast.reason is not None:
        return Judgement(limit=name, verdict="cannot tell", text=contrast.reason or "nothing was compared")
    told = f"takes {tell_ratio(found)}, limit {1 + limit:.6g}"
    if found.high <= 1 + limit:
        return Judgement(limit=name, verdict="kept", text=told)
    if found.low <= 1 + limit:
        return Judgement(limit=name, verdict="cannot tell", text=f"{told}: the interval holds the limit")
    if found.low <= 1 + BETWEEN_RUNS:
        return Judgement(limit=name, verdict="cannot tell", text=f"{told}: {_NOISE}")
    return Judgement(limit=name, verdict="broken", text=told)


def tell_ratio(found: Difference) -> str:
    return f"{found.ratio:.3f} times as long [{found.low:.3f}, {found.high:.3f}]"


_NOISE = f"equal programs differ by up to {100 * BETWEEN_RUNS:g} % from run to run"


def _judge_latency(second: Side, limit_ms: float | None) -> Judgement | None:
    """Broken only where the whole interval of p50 lies beyond the limit."""
    if limit_ms is None:
        return None
    name = "max-latency"
    if second.p50_ms is None:
        return Judgement(limit=name, verdict="cannot tell", text="there are too few samples for p50")
    told = f"p50 {second.p50_ms:.4g} ms, limit {limit_ms:.6g} ms"
    low, high = second.p50_ci or (None, None)
    if low is not None and low > limit_ms:
        return Judgement(limit=name, verdict="broken", text=told)
    if high is not None and high <= limit_ms:
        return Judgement(limit=name, verdict="kept", text=told)
    why = "no interval is known" if low is None else f"the interval [{low:.4g}, {high:.4g}] holds the limit"
    return Judgement(limit=name, verdict="cannot tell", text=f"{told}: {why}")


def _judge_drop(contrast: Contrast, limit: float | None) -> Judgement | None:
    if limit is None:
        return None
    name, change = "max-accuracy-drop", contrast.changes.accuracy_points
    if change is None:
        text = "accuracy was not measured in the same place on both sides"
        return Judgement(limit=name, verdict="cannot tell", text=text)
    verb = "rises" if change > 0 else "falls"
    told = f"accuracy on the {contrast.accuracy_source} {verb} by {abs(change):.6g} points, limit {limit:g}"
    return Judgement(limit=name, verdict="broken" if -change > limit else "kept", text=told)


def _judge_ceiling(name: str, what: str, mib: float | None, limit: float | None) -> Judgement | None:
    if limit is None:
        return None
    if mib is None:
        return Judgement(limit=name, verdict="cannot tell", text=f"{what} was not measured")
    told = f"{what} {mib:.6g} MiB, limit {limit:.6g} MiB"
    return Judgement(limit=name, verdict="kept" if mib <= limit else "broken", text=told)


class Growth(NamedTuple):
    """A figure on both sides; `ratio` is None where they cannot be compared."""

    what: str
    unit: str
    first: float | None
    second: float | None
    ratio: float | None


def _judge_growth(name: str, grown: Growth, limit: float | None) -> Judgement | None:
    if limit is None:
        return None
    if grown.ratio is None:
        text = f"{grown.what} was not measured on both sides by the same means"
        return Judgement(limit=name, verdict="cannot tell", text=text)
    values = f"{grown.what} {grown.first:.5g} → {grown.second:.5g} {grown.unit}"
    told = f"{values}, {100 * (grown.ratio - 1):+.4g} %, limit +{100 * limit:g} %"
    return Judgement(limit=name, verdict="kept" if grown.ratio <= 1 + limit else "broken", text=told)
