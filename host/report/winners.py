"""The ranking of a sweep in sentences: who is fastest within the limits, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterable

from host.ledger.ranking import Candidate, Winner
from host.report.cells import choose_decimals, clean_text, format_accuracy, format_flags, format_number


def describe_winner(winner: Winner) -> list[str]:
    """A line on the fastest variant of a device, then one on its rivals and one for each that fell."""
    where = clean_text(winner.device) + (" (emulated)" if winner.is_emulated else "")
    about = f"{where}, {clean_text(winner.model)}" + (f", batch {winner.batch}" if winner.batch > 1 else "")
    lines = [f"{about}: {_tell_fastest(winner)}"]
    if winner.rivals:
        names = ", ".join(_name(rival, winner) for rival in winner.rivals)
        lines.append(f"  not clearly faster than {names}: the intervals overlap, or one is not known")
    for item in winner.fallen:
        reasons = "; ".join(clean_text(reason) for reason in item.reasons)
        lines.append(f"  ruled out: {_name(item.candidate, winner)}: {reasons}")
    return lines


def _tell_fastest(winner: Winner) -> str:
    if winner.fastest is None:
        return "nothing keeps the limits"
    return f"{_name(winner.fastest, winner)} is the fastest within the limits: {_tell(winner.fastest)}"


def _name(candidate: Candidate, winner: Winner) -> str:
    """A variant's name, with its settings where the same variant was measured with several."""
    everyone = [
        *_present(winner.fastest),
        *winner.rivals,
        *winner.slower,
        *(i.candidate for i in winner.fallen),
    ]
    same = {item.settings for item in everyone if item.variant == candidate.variant}
    label = clean_text(candidate.variant)
    return f"{label} ({clean_text(candidate.settings)})" if len(same) > 1 else label


def _present(candidate: Candidate | None) -> Iterable[Candidate]:
    return () if candidate is None else (candidate,)


def _tell(candidate: Candidate) -> str:
    p50 = format_number(candidate.p50_ms, choose_decimals([candidate.p50_ms]))
    told = [f"p50 {p50} ms"]
    if candidate.speedup is not None:
        told.append(f"{candidate.speedup:.2f}× as fast as dense")
    if candidate.accuracy is not None:
        told.append(f"accuracy {format_accuracy(candidate.accuracy, None)} %")
    flags = [flag for flag in candidate.flags if flag != "emulated"]
    if flags:
        told.append(f"flagged {format_flags(flags)}")
    return ", ".join(told)
