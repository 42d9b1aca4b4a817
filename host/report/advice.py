"""What `bench recommend` found, in sentences: the winner, who is as good, why the others fell."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from host.ledger.advising import Advice, BoardOrder
from host.ledger.ranking import MIB
from host.ledger.recommending import Ranking
from host.ledger.wishes import Choice, Wishes
from host.report import cells
from host.report.figures import Column, make_column
from host.report.flags import MEANINGS
from host.report.markdown import escape, tell_table

BASES = {
    "price": "price",
    "energy": "energy per inference: not every one has a price in devices.yaml",
    "power": "power under load: not every one has a price in devices.yaml, or a known energy",
    "latency": "latency: not every one has a price in devices.yaml, or power read by the same kind of sensor",
}
WORDS = {
    "price": "cheapest",
    "energy": "cheapest to run",
    "power": "most frugal",
    "latency": "fastest",
}
GOALS = {
    "latency": "the lowest latency",
    "energy": "the lowest energy per inference",
    "size": "the smallest file",
    "memory": "the lowest peak memory",
    "power": "the lowest power",
    "accuracy": "the highest accuracy",
}
MANY_TIMES = 10
"""From this excess on a multiple says more than a percentage."""

UNITS = {"price": "", "energy": " mJ", "power": " W", "latency": " ms"}


class Section(NamedTuple):
    """A heading, the sentences below it, and a table that may be empty."""

    heading: str
    lines: tuple[str, ...]
    columns: tuple[Column, ...]


def print_advice(advice: Advice, form: str = "table") -> None:
    """Print an advice on standard output, as a table for a terminal or as markdown."""
    sections = list(tell_advice(advice))
    if form == "markdown":
        sys.stdout.write("\n".join(_tell_markdown(sections)) + "\n")
        return
    from host.report.exporting import open_console
    from host.report.table import print_lines, print_part

    console = open_console(sys.stdout)
    for section in sections:
        print_lines(console, [section.heading], "bold")
        print_lines(console, [f"  {line}" for line in section.lines], "")
        if section.columns:
            console.print()
            print_part(console, "", section.columns)
        console.print()


def _tell_markdown(sections: Sequence[Section]) -> Iterator[str]:
    for section in sections:
        yield from (
            f"### {escape(section.heading)}",
            "",
            *(f"- {escape(line)}" for line in section.lines),
            "",
        )
        if section.columns:
            yield from (*tell_table(section.columns), "")


def tell_advice(advice: Advice) -> Iterator[Section]:
    """The order of boards first, real ones before emulated ones; then each device."""
    for order in sorted(advice.boards, key=lambda order: order.is_emulated):
        yield Section(_head_order(order), tuple(_tell_order(order)), ())
    for ranking in sorted(advice.rankings, key=lambda one: one.is_emulated):
        yield Section(
            tell_winner(ranking, advice.wishes),
            tuple(_tell_ranking(ranking, advice.wishes)),
            tuple(_list_columns(ranking, advice.wishes)),
        )


def _head_order(order: BoardOrder) -> str:
    about = cells.clean_text(order.model) + (f", batch {order.batch}" if order.batch > 1 else "")
    kind = "emulated devices" if order.is_emulated else "devices"
    if not order.boards:
        return f"{about}: none of {len(order.failing)} {kind} meets the limits"
    if order.basis is None:
        return f"{about}: {len(order.boards)} {kind} meet the limits; what they cost is not known"
    first = cells.clean_text(order.boards[0].device)
    if len(order.boards) == 1:
        return f"{about}: of {1 + len(order.failing)} {kind}, only {first} meets the limits"
    return f"{about}: {first} is the {WORDS[order.basis]} of {len(order.boards)} {kind} that meet the limits"


def _tell_order(order: BoardOrder) -> Iterator[str]:
    if order.basis is not None and len(order.boards) > 1:
        yield f"ordered by {BASES[order.basis]}"
    for board in order.boards:
        value = "" if order.basis is None else f": {order.basis} {board.value:.4g}{UNITS[order.basis]}"
        yield cells.clean_text(f"{board.device} with {board.variant}{value}")
    if order.failing:
        yield f"nothing keeps the limits on {cells.clean_text(', '.join(order.failing))}"


def tell_winner(ranking: Ranking, wishes: Wishes) -> str:
    """One sentence: what to take on a device, or that nothing keeps the limits."""
    about = tell_place(ranking)
    if ranking.winner is None:
        return f"{about}: nothing keeps the limits"
    return f"{about}: {name_choice(ranking, ranking.winner)}, {GOALS[wishes.goal]} within the limits"


def tell_place(ranking: Ranking) -> str:
    """What is ranked: a device, a model, and the batch size and the scenario that are not as usual."""
    where = cells.clean_text(ranking.device) + (" (emulated)" if ranking.is_emulated else "")
    about = f"{where}, {cells.clean_text(ranking.model)}"
    about += f", batch {ranking.batch}" if ranking.batch > 1 else ""
    usual = (None, "single-stream")
    return about + (f", {cells.clean_text(ranking.scenario)}" if ranking.scenario not in usual else "")


def name_choice(ranking: Ranking, choice: Choice) -> str:
    """A variant's name, with its settings where the same variant was measured with several."""
    everyone = [*_kept(ranking), *(item.choice for item in ranking.fallen)]
    same = {one.settings for one in everyone if one.variant == choice.variant}
    told = f"{choice.variant} ({choice.settings})" if len(same) > 1 else choice.variant
    return cells.clean_text(told)


def _kept(ranking: Ranking) -> list[Choice]:
    winner = [] if ranking.winner is None else [ranking.winner]
    return [*winner, *ranking.rivals, *ranking.others]


def _tell_ranking(ranking: Ranking, wishes: Wishes) -> Iterator[str]:
    winner = ranking.winner
    if winner is not None and winner.flags:
        meanings = cells.clean_text("; ".join(MEANINGS.get(flag, flag) for flag in winner.flags))
        yield f"mind that its figures are flagged {cells.format_flags(winner.flags)}: {meanings}"
    if winner is not None and winner.near:
        limit = f"{wishes.max_latency_ms:g} ms"
        yield f"its latency is within noise of the limit: the 95 % interval of p50 holds {limit}"
    if wishes.goal == "latency" and wishes.percentile != "p50" and ranking.others:
        yield f"no interval of {wishes.percentile} is known: how sure this order is, nobody can tell"
    if ranking.rivals:
        names = ", ".join(name_choice(ranking, one) for one in ranking.rivals)
        yield f"no better, as far as anybody can tell, than {names}"
    yield from _tell_picks(ranking)
    yield from _tell_front(ranking)
    yield from _tell_fallen(ranking)


def _tell_picks(ranking: Ranking) -> Iterator[str]:
    picks = ranking.picks
    if picks is None:
        return
    names = {one.task: name_choice(ranking, one) for one in _kept(ranking)}
    yield f"best accuracy: {names[picks.best_accuracy]}"
    yield f"best compression: {names[picks.best_compression]}"
    yield f"best balance: {names[picks.best_balance]} (over {', '.join(picks.balance_axes)})"


def _tell_front(ranking: Ranking) -> Iterator[str]:
    everyone = [*_kept(ranking), *(item.choice for item in ranking.fallen)]
    names = [name_choice(ranking, one) for one in everyone if one.on_front]
    if not names:
        return
    without = f"; not every one has {', '.join(ranking.front_without)}" if ranking.front_without else ""
    yield f"nothing beats these in all of {', '.join(ranking.front_axes)}{without}: {', '.join(names)}"


def _tell_fallen(ranking: Ranking) -> Iterator[str]:
    for item in ranking.fallen:
        nearest = ", the nearest miss" if item.choice.task == ranking.nearest else ""
        reasons = "; ".join(_tell_miss(miss.text, miss.excess) for miss in item.misses)
        yield cells.clean_text(f"ruled out{nearest}: {name_choice(ranking, item.choice)}: {reasons}")


def _tell_miss(text: str, excess: float | None) -> str:
    if excess is None:
        return text
    above = f"by {100 * excess:.3g} %" if excess < MANY_TIMES else f"{1 + excess:.0f} times it"
    return f"{text} ({above})"


def _list_columns(ranking: Ranking, wishes: Wishes) -> Iterator[Column]:
    """Those that keep the limits, the best first, with the figures that decide."""
    kept = _kept(ranking)
    if not kept:
        return
    decimals = cells.choose_decimals(one.latency_ms for one in kept)
    yield make_column("variant", "variant", [name_choice(ranking, one) for one in kept], "left")
    yield make_column(
        "latency",
        f"{wishes.percentile} ms",
        [cells.format_number(one.latency_ms, decimals) for one in kept],
    )
    yield make_column(
        "interval", "95 % of p50", [cells.format_interval(one.p50_ci, decimals) for one in kept]
    )
    yield make_column("accuracy", "accuracy %", [cells.format_accuracy(one.accuracy, None) for one in kept])
    figures: dict[str, tuple[list[float | None], int]] = {
        "file MiB": ([one.file_bytes / MIB for one in kept], 2),
        "peak MiB": ([one.memory_mb for one in kept], 1),
        "power W": ([one.power_w for one in kept], 2),
        "energy mJ": ([one.energy_mj for one in kept], 2),
    }
    for title, (values, places) in figures.items():
        if any(value is not None for value in values):
            yield make_column(title, title, [cells.format_number(value, places) for value in values])
    if any(one.on_front for one in kept):
        yield make_column("front", "front", ["yes" if one.on_front else "" for one in kept], "left")
    if any(one.flags for one in kept):
        yield make_column("flags", "flags", [cells.format_flags(one.flags) for one in kept], "left")
