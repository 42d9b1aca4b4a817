"""Room is made on boards: what they have of earlier work goes, what no host has fetched yet stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from host.crew import Crew, Ended, Say
from host.errors import BenchError
from host.fleet.agent_archive import build_agent
from host.fleet.boards import Chosen, choose_devices, wake_device
from host.fleet.cleaning import clean_board
from host.fleet.probing import bootstrap_agent
from host.fleet.reaching import open_remote
from host.fleet.registry import load_devices
from host.ledger.records import RunRecord
from host.ledger.store import Ledger
from host.specs.cleaning import Cleaned, Terms
from host.workspace import Workspace


def clean_devices(
    names: Sequence[str], terms: Terms, workspace: Workspace, ledger: Ledger
) -> tuple[list[Cleaned], Mapping[str, BenchError]]:
    """Clean boards, all at once; what was removed where, and the errors of those that could not be cleaned.

    Where no board could, the first error is raised.
    """

    def clean(chosen: Chosen, _say: Say) -> Cleaned:
        return _clean_device(chosen, terms, workspace, ledger)

    chosen = choose_devices((), names, load_devices(workspace))
    done: dict[str, Cleaned] = {}
    errors: dict[str, BenchError] = {}
    for message in Crew().start({one.name: partial(clean, one) for one in chosen}).listen():
        if isinstance(message, Ended) and isinstance(message.value, Cleaned):
            done[message.name] = message.value
        elif isinstance(message, Ended) and isinstance(message.error, BenchError):
            errors[message.name] = message.error
        elif isinstance(message, Ended) and message.error is not None:
            raise message.error
    if not done:
        raise next(iter(errors.values()))
    return [done[one.name] for one in chosen if one.name in done], errors


def _clean_device(chosen: Chosen, terms: Terms, workspace: Workspace, ledger: Ledger) -> Cleaned:
    """Ask first which runs are there: those that the ledger has whole need not stay."""
    device = wake_device(chosen, workspace)
    agent = build_agent(workspace.cache)
    with open_remote(device) as remote:
        bootstrap_agent(remote, device, agent)
        looked = clean_board(remote, device, agent, terms.model_copy(update={"is_dry": True}))
        fetched = find_fetched(looked.unfetched_runs, ledger)
        return clean_board(remote, device, agent, terms, fetched)


def find_fetched(names: Iterable[str], ledger: Ledger) -> list[str]:
    """Those of a board's runs, `<run>.<journal>` each, of which the ledger has every result."""
    known = {run.id: run for run in ledger.runs()}
    own = {name: known[run] for name in names if (run := name.rpartition(".")[0]) in known}
    whole = {run.id for run in {run.id: run for run in own.values()}.values() if _is_whole(run, ledger)}
    return [name for name, run in own.items() if run.id in whole]


def _is_whole(run: RunRecord, ledger: Ledger) -> bool:
    measured = {entry.task for entry in ledger.measurements(run.id)}
    return run.task_order.keys() <= measured
