"""What the words of `bench compare` and `bench check` name: runs, baselines, variants or devices of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from host.errors import UsageError
from host.ledger.baselines import find_baseline, list_baselines
from host.ledger.contrast import Comparison, ReadSamples, compare_sides
from host.ledger.matching import Row, Subject
from host.ledger.records import RunRecord
from host.ledger.rows import result_rows
from host.ledger.statistics import Samples
from host.ledger.store import Ledger
from host.workspace import unknown_name

PREFIXES = ("run", "baseline", "variant", "device")


class Words(NamedTuple):
    """Two names as they were given, each apart from its prefix, if it has one."""

    kinds: tuple[str | None, str | None]
    names: tuple[str, str]


def compare_named(ledger: Ledger, first: str, second: str, run_text: str | None = None) -> Comparison:
    """What two words name beside each other; variants and devices are those of one run.

    A word may say what it names: `run:`, `baseline:`, `variant:` or `device:`. One that does not is what it
    can be; with a run, only a variant or a device of it. Raises UsageError where both cannot be the same
    kind of thing, or more than one.
    """
    words = split_words(first, second)
    is_of_runs = set(words.kinds) & {"run", "baseline"}
    if run_text is not None and is_of_runs:
        raise UsageError(
            "--run names the run that holds both; runs are compared without it", "Leave --run out."
        )
    run = None if is_of_runs else _find_holder(ledger, run_text)
    rows = [] if run is None else list(result_rows(ledger, run.id))
    subject = settle_subject(ledger, words, rows, has_run=run_text is not None)
    if subject == "run":
        return _compare_runs(ledger, words)
    sides = tuple([row for row in rows if name in _names_of(row, subject)] for name in words.names)
    _refuse_same(sides[0], sides[1], words, subject)
    runs = {} if run is None else {run.id: run}
    return compare_sides(words.names, (sides[0], sides[1]), subject, reading(ledger), runs)


def split_words(first: str, second: str) -> Words:
    """`variant:int8` as its kind and its name; other words before a colon belong to the name."""
    parts = [text.partition(":") for text in (first, second)]
    kinds = tuple(head if colon and head in PREFIXES else None for head, colon, _ in parts)
    names = tuple(
        text if kind is None else tail
        for text, kind, (_, _, tail) in zip((first, second), kinds, parts, strict=True)
    )
    return Words((kinds[0], kinds[1]), (names[0], names[1]))


def settle_subject(ledger: Ledger, words: Words, rows: Sequence[Row], *, has_run: bool) -> Subject:
    """The one kind of thing that both words can name. Raises UsageError where there is none or more."""
    possible = [
        _find_kinds(ledger, name, rows, has_run=has_run) if kind is None else {_subject_of(kind)}
        for kind, name in zip(words.kinds, words.names, strict=True)
    ]
    shared = possible[0] & possible[1]
    if len(shared) == 1:
        (subject,) = shared
        for kind, name in zip(words.kinds, words.names, strict=True):
            if subject != "run" and kind is not None:
                _check_known(name, rows, subject)
        return subject
    if shared:
        raise UsageError(
            f"{words.names[0]} and {words.names[1]} may be {_list_kinds(shared)}",
            f"Say which: {min(shared)}:{words.names[0]} {min(shared)}:{words.names[1]}",
        )
    raise _explain_nothing_shared(ledger, words, possible, rows, has_run)


def _subject_of(kind: str) -> Subject:
    return {"variant": "variant", "device": "device"}.get(kind, "run")  # type: ignore[return-value]


def _find_kinds(ledger: Ledger, name: str, rows: Sequence[Row], *, has_run: bool) -> set[Subject]:
    kinds: set[Subject] = {
        subject for subject in ("variant", "device") if any(name in _names_of(row, subject) for row in rows)
    }
    if not has_run and find_runs(ledger, name):
        kinds.add("run")
    return kinds


def _names_of(row: Row, subject: Subject) -> tuple[str, ...]:
    """What a row is called by as a variant, its name or its id; or as a device."""
    return (row["device"],) if subject == "device" else (row["variant"], row["variant_id"])


def _check_known(name: str, rows: Iterable[Row], subject: Subject) -> None:
    known = list(dict.fromkeys(_names_of(row, subject)[0] for row in rows))
    if not any(name in _names_of(row, subject) for row in rows):
        raise unknown_name(subject, name, known, f"The run has {', '.join(known)}.")


def _list_kinds(kinds: Iterable[str]) -> str:
    return " or ".join(f"{kind}s" for kind in sorted(kinds))


def _explain_nothing_shared(
    ledger: Ledger, words: Words, possible: Sequence[set[Subject]], rows: Sequence[Row], has_run: bool
) -> UsageError:
    """Why two words cannot be compared: one that names nothing first."""
    for name, kinds in zip(words.names, possible, strict=True):
        if not kinds:
            inside = [value for row in rows for value in (row["variant"], row["device"])]
            outside = [] if has_run else [*(one.name for one in list_baselines(ledger))]
            known = list(dict.fromkeys([*inside, *outside]))
            runs = "" if has_run else " `bench results --all` shows all runs."
            told = f"There is {', '.join(known[:12])}." if known else "The ledger holds none."
            what = "variant or device of the run" if has_run else "run, baseline, variant or device"
            return unknown_name(what, name, known, told + runs)
    told = " and ".join(
        f"{name} is a {' and a '.join(sorted(kinds))}"
        for name, kinds in zip(words.names, possible, strict=True)
    )
    return UsageError(f"{told}: they are not compared", "Name two runs, two variants or two devices.")


def _find_holder(ledger: Ledger, run_text: str | None) -> RunRecord | None:
    """The run whose variants and devices are meant; None where there is no run at all."""
    if run_text is not None:
        return find_reference(ledger, run_text)
    return ledger.find_measured_run() if ledger.list_runs() else None


def find_runs(ledger: Ledger, text: str) -> list[RunRecord]:
    """The runs that a word may name: by a baseline's name, an id, `latest`, or the beginning of an id."""
    if text in {one.name for one in list_baselines(ledger)}:
        return [find_baseline(ledger, text)]
    known = [run.id for run in ledger.list_runs()]
    if text == "latest" and known:
        return [ledger.find_run(text)]
    matching = [text] if text in known else [run for run in known if text and run.startswith(text)]
    return [ledger.find_run(run) for run in matching]


def find_reference(ledger: Ledger, text: str) -> RunRecord:
    """The run of a baseline's name, or of an id or a unique beginning of one; a baseline's name comes first.

    `run:` and `baseline:` before it say which is meant. Raises UsageError that names the nearest ones.
    """
    kind, colon, name = text.partition(":")
    if colon and kind == "baseline":
        return find_baseline(ledger, name)
    if colon and kind == "run":
        return ledger.find_run(name)
    names = [one.name for one in list_baselines(ledger)]
    if text in names:
        return find_baseline(ledger, text)
    if find_runs(ledger, text) or not names:
        return ledger.find_run(text)
    ids = [run.id for run in ledger.list_runs()]
    raise unknown_name("baseline or run", text, [*names, *ids], f"There is {', '.join(names)}.")


def _compare_runs(ledger: Ledger, words: Words) -> Comparison:
    runs = [
        find_reference(ledger, name if kind is None else f"{kind}:{name}")
        for kind, name in zip(words.kinds, words.names, strict=True)
    ]
    if runs[0].id == runs[1].id:
        raise UsageError(
            f"both are run {runs[0].id}",
            "Name two runs; `bench compare A B --run R` compares two variants or devices of one.",
        )
    rows = tuple(result_rows(ledger, run.id) for run in runs)
    labels = tuple(_label_run(name, run) for name, run in zip(words.names, runs, strict=True))
    return compare_sides(
        (labels[0], labels[1]),
        (rows[0], rows[1]),
        "run",
        reading(ledger),
        {run.id: run for run in runs},
    )


def _label_run(name: str, run: RunRecord) -> str:
    return run.id if run.id.startswith(name) else f"{name} ({run.id})"


def _refuse_same(first: Sequence[Any], second: Sequence[Any], words: Words, subject: Subject) -> None:
    if words.names[0] == words.names[1] or [id(row) for row in first] == [id(row) for row in second]:
        raise UsageError(f"both are the {subject} {words.names[0]}", "Name two different ones.")


def reading(ledger: Ledger) -> ReadSamples:
    """Reads the samples of a row from a ledger."""

    def read(row: Mapping[str, Any]) -> Sequence[Samples]:
        return ledger.samples(row["run"], row["task"])

    return read
