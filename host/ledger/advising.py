"""`bench recommend` on what is stored: a ranking for each device, and the cheapest of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from host.errors import UsageError
from host.ledger.recommending import Ranking, rank_rows
from host.ledger.records import RunRecord
from host.ledger.rows import Row, result_rows
from host.ledger.selecting import Selection
from host.ledger.sides import find_reference
from host.ledger.store import Ledger
from host.ledger.wishes import Choice, Wishes
from host.specs.record import Record
from host.workspace import unknown_name

Basis = Literal["price", "energy", "power", "latency"]


class Board(Record):
    """A device that meets the limits with its winner, and what it costs by the basis of the order."""

    device: str
    variant: str
    value: float | None


class BoardOrder(Record):
    """The devices that meet the limits for one model, the cheapest first; real or emulated ones, never both.

    `basis` is the first of price, energy, power and latency that is known of all of them; for energy and
    power all must be measured by the same kind of sensor. Where nothing is known it is None, and there is no
    order.
    `failing` are devices on which nothing keeps the limits.
    """

    model: str
    batch: int
    scenario: str | None
    is_emulated: bool
    basis: Basis | None
    boards: tuple[Board, ...]
    failing: tuple[str, ...]


class Advice(Record):
    """All that `bench recommend` tells. `boards` is empty where there is one device only."""

    wishes: Wishes
    runs: tuple[str, ...]
    rankings: tuple[Ranking, ...]
    boards: tuple[BoardOrder, ...]

    @property
    def has_winner(self) -> bool:
        return any(ranking.winner is not None for ranking in self.rankings)


def recommend(
    ledger: Ledger,
    wishes: Wishes,
    run_texts: Sequence[str] = (),
    devices: Sequence[str] = (),
    prices: Mapping[str, float] | None = None,
) -> Advice:
    """The advice from runs that are named, or from the newest run that measured each device.

    Without devices, of all devices of the newest run that measured anything. What several runs measured
    counts as the newest of them has it.
    """
    runs, rows = _read_rows(ledger, run_texts, devices)
    rankings = tuple(rank_rows(rows, wishes, prices))
    sources = {(row["run"], row["task"]): row["power"]["source"] for row in rows}
    return Advice(
        wishes=wishes,
        runs=tuple(run.id for run in runs),
        rankings=rankings,
        boards=tuple(order_boards(rankings, sources)),
    )


def _read_rows(
    ledger: Ledger, texts: Sequence[str], devices: Sequence[str]
) -> tuple[list[RunRecord], list[Row]]:
    """The runs to choose from, the newest first, and their rows. Raises UsageError for a device that none
    measured."""
    if texts:
        named = {run.id: run for run in (find_reference(ledger, text) for text in texts)}
        runs = _sort_runs(named.values())
        _check_devices(devices, (name for run in runs for name in run.devices))
        return runs, list(_read_named(ledger, runs, devices))
    if not devices:
        run = ledger.find_measured_run()
        return [run], result_rows(ledger, run.id)
    sources = _find_sources(ledger, devices)
    runs = _sort_runs({run.id: run for run in sources.values()}.values())
    chosen = {(run.id, device) for device, run in sources.items()}
    rows = (row for run in runs for row in result_rows(ledger, run.id))
    return runs, [row for row in rows if (row["run"], row["device"]) in chosen]


def _sort_runs(runs: Iterable[RunRecord]) -> list[RunRecord]:
    return sorted(runs, key=lambda run: run.started_at, reverse=True)


def _check_devices(devices: Iterable[str], measured: Iterable[str]) -> None:
    """Raise UsageError for a device that is none of those which were measured."""
    known = list(dict.fromkeys(measured))
    for device in devices:
        if device not in known:
            raise unknown_name("measured device", device, known, f"There is {', '.join(known) or 'none'}.")


def _find_sources(ledger: Ledger, devices: Iterable[str]) -> dict[str, RunRecord]:
    """For each device, the run that tells of it."""
    ledger.find_run()  # raises where there is none
    _check_devices(devices, (name for line in ledger.list_runs() for name in line.devices))
    found = {}
    for device in devices:
        run = _find_newest(ledger, device)
        if run is None:
            raise UsageError(f"nothing was measured on {device} yet", f"bench sweep --device {device}")
        found[device] = run
    return found


def _find_newest(ledger: Ledger, device: str) -> RunRecord | None:
    """The newest run that measured anything on a device, and not only once more what another one has.

    One in which everything failed on it has measured nothing.
    """
    for line in ledger.list_runs():
        if device in line.devices and line.measured and _has_measured(ledger, line.id, device):
            run = ledger.find_run(line.id)
            if run.again_of is None:
                return run
    return None


def _has_measured(ledger: Ledger, run: str, device: str) -> bool:
    return bool(ledger.entries(run, Selection(devices=(device,), statuses=("ok",), limit=1)))


def _read_named(ledger: Ledger, runs: Iterable[RunRecord], devices: Sequence[str]) -> Iterator[Row]:
    """Rows of these devices, each task once, as the newest run has it."""
    seen: set[str] = set()
    for run in runs:
        rows = [row for row in result_rows(ledger, run.id) if not devices or row["device"] in devices]
        fresh = [row for row in rows if row["task"] not in seen]
        seen |= {row["task"] for row in fresh}
        yield from fresh


def order_boards(
    rankings: Sequence[Ranking], sources: Mapping[tuple[str, str], str | None]
) -> Iterator[BoardOrder]:
    """The order of boards for every model that several devices measured."""
    groups: dict[tuple[Any, ...], list[Ranking]] = {}
    for one in rankings:
        groups.setdefault((one.model, one.batch, one.scenario, one.is_emulated), []).append(one)
    for (model, batch, scenario, is_emulated), group in groups.items():
        if len(group) < 2:
            continue
        fit = [(one, one.winner) for one in group if one.winner is not None]
        basis, values = choose_basis(fit, sources)
        boards = [
            Board(device=one.device, variant=winner.variant, value=value)
            for (one, winner), value in zip(fit, values, strict=True)
        ]
        yield BoardOrder(
            model=model,
            batch=batch,
            scenario=scenario,
            is_emulated=is_emulated,
            basis=basis,
            boards=tuple(sorted(boards, key=lambda board: board.value or 0.0)),
            failing=tuple(one.device for one in group if one.winner is None),
        )


def choose_basis(
    fit: Sequence[tuple[Ranking, Choice]], sources: Mapping[tuple[str, str], str | None]
) -> tuple[Basis | None, list[float | None]]:
    """What the boards are ordered by, and what each of them costs so."""
    is_one_sensor = len({sources[winner.run, winner.task] for _, winner in fit}) == 1
    candidates: dict[Basis, list[float | None]] = {
        "price": [one.price for one, _ in fit],
        "energy": [winner.energy_mj if is_one_sensor else None for _, winner in fit],
        "power": [winner.power_w if is_one_sensor else None for _, winner in fit],
        "latency": [winner.latency_ms for _, winner in fit],
    }
    for basis, values in candidates.items():
        if fit and None not in values:
            return basis, values
    return None, [None] * len(fit)
