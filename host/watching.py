"""All registered boards watched at once, whoever measures on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from host.crew import Crew, Ended
from host.errors import BenchError
from host.fleet.looking import Lookout
from host.fleet.standing import Standing
from host.ledger.store import Ledger
from host.plan import Plan
from host.workspace import Workspace


def watch_boards(
    names: Sequence[str], workspace: Workspace, interval_s: float, times: int | None
) -> Iterator[Standing]:
    """Where each board stands after each look at it, as the answers come."""
    labels = Labels(workspace)
    lookouts = {name: Lookout(name, workspace, interval_s, times) for name in names}
    crew = Crew().start({name: one.watch for name, one in lookouts.items()})
    for message in crew.listen():
        if not isinstance(message, Ended):
            yield labels.name(cast(Standing, message.what))
        elif isinstance(message.error, BenchError):
            yield Standing(device=message.name, state="failed", why=message.error.message)
        elif message.error is not None:
            raise message.error


class Labels:
    """The names that people gave to the tasks of runs of this workspace: boards know only their ids."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: dict[str, dict[str, str]] = {}

    def name(self, standing: Standing) -> Standing:
        """The same with its task's label; a run that another host began keeps its ids."""
        if standing.run is None or standing.task is None:
            return standing
        run = standing.run.split(".")[0]
        if run not in self._known:
            self._known[run] = self._find(run)
        return standing.model_copy(update={"task": self._known[run].get(standing.task, standing.task)})

    def _find(self, run: str) -> dict[str, str]:
        if not self._workspace.results.is_dir():  # looking at boards makes no ledger
            return {}
        try:
            with Ledger.open(self._workspace.ledger_url) as ledger:
                plan = Plan.model_validate(ledger.find_run(run).plan)
        except (BenchError, ValueError):
            return {}
        return {task.id: task.label for task in plan.tasks}
