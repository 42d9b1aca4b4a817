"""Looking at boards from outside, whoever measures there: a cheap question now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from host.errors import DeviceError, Interrupted
from host.fleet import emulator
from host.fleet.agent_archive import build_agent
from host.fleet.journal import Count, Id, Seconds, Text
from host.fleet.patience import Lost, Outage, Patience, over_links
from host.fleet.probing import bootstrap_agent, call_agent
from host.fleet.reaching import open_remote
from host.fleet.registry import find_device
from host.fleet.remote import Remote
from host.fleet.standing import Standing, estimate_left_s, name_state
from host.progress import Silent
from host.specs.artifact import Blob
from host.specs.device import Device
from host.workspace import Workspace

ENDLESS = Patience(total_s=float("inf"), meeting_s=float("inf"))
"""Who watches goes on watching: a board that is gone for a day may be back tomorrow."""


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class ToldHolder(_Told):
    """What the lock of a board says of who measures; empty while that is being written."""

    run: Text | None = None
    holder: Text | None = None
    since: Text | None = None


class ToldRun(_Told):
    """How far a run is."""

    rounds_total: Count
    rounds_done: Count
    rounds_since: int = Field(ge=-(10**9), le=10**9)
    elapsed_s: Seconds
    task: Id | None = None
    phase: Annotated[Text, Field(max_length=40)] | None = None
    round: Count | None = None


class ToldStanding(_Told):
    """An agent's answer to `look`."""

    holder: ToldHolder | None
    run: ToldRun | None
    is_receiving: bool


def look_at(remote: Remote, device: Device, agent: Blob) -> Standing:
    """What the board is doing now. Raises DeviceError where its answer is not understood."""
    answer = call_agent(remote, device, agent, ["look"])
    try:
        told = ToldStanding.model_validate(answer)
    except ValidationError as error:
        raise DeviceError(
            f"{device.name}: the agent's answer to `look` does not fit",
            f"`bench devices probe {device.name}` sends the agent that belongs to this version of bench.",
        ) from error
    if told.holder is None:
        return Standing(device=device.name, state="deploying" if told.is_receiving else "idle")
    return Standing.model_validate(
        {"device": device.name, "run": told.holder.run, "holder": told.holder.holder, **_tell(told.run)}
    )


def _tell(run: ToldRun | None) -> dict[str, Any]:
    """The state of a board that somebody holds, and how far that is."""
    if run is None:
        return {"state": "measuring"}
    return {
        "state": name_state(run.phase),
        "task": run.task,
        "phase": run.phase,
        "round": None if run.round is None else run.round + 1,
        "rounds_done": run.rounds_done,
        "rounds_total": run.rounds_total,
        "eta_s": estimate_left_s(run.elapsed_s, run.rounds_since, run.rounds_total - run.rounds_done),
    }


class Lookout:
    """Looks at one board every `interval_s` seconds, `times` times or for ever, and says where it stands.

    One connection is kept; a lost one is opened again for as long as somebody watches.
    """

    def __init__(self, name: str, workspace: Workspace, interval_s: float, times: int | None) -> None:
        self._name = name
        self._workspace = workspace
        self._interval_s = interval_s
        self._left = times
        self._over = threading.Event()
        self._last: Standing | None = None

    def watch(self, say: Callable[[object], None]) -> None:
        """Say a Standing after each look; what no later look would change is said, and is the end."""
        while not self._is_over():
            device = find_device(self._workspace, self._name)
            if device.emulation is not None and emulator.status(self._workspace, self._name).state != "up":
                self._tell(Standing(device=self._name, state="off"), say)
                continue
            try:
                self._watch_device(device, say)
            except Interrupted:  # it was lost at its last look
                return
            except DeviceError as error:
                say(Standing(device=self._name, state="failed", why=error.message))
                return

    def _watch_device(self, device: Device, say: Callable[[object], None]) -> None:
        agent = build_agent(self._workspace.cache)

        def tell_lost(lost: Lost) -> None:
            told = {"since": lost.since, "next_try": lost.next_try, "why": lost.why}
            say(Standing(device=self._name, state="lost", **told))
            self._count()

        def look(remote: Remote) -> None:
            bootstrap_agent(remote, device, agent)
            while not self._is_over():
                standing = look_at(remote, device, agent)
                outage.end()
                self._tell(standing, say)

        outage = Outage(device.name, ENDLESS, Silent(), self._over, tell_lost)
        over_links(lambda: open_remote(device), look, outage)

    def _tell(self, standing: Standing, say: Callable[[object], None]) -> None:
        """Say it, and rest; a board that was seen measuring and does nothing now is done."""
        was_busy = self._last is not None and self._last.state in ("measuring", "cooling", "done")
        if standing.state == "idle" and self._last is not None and was_busy:
            standing = standing.model_copy(update={"state": "done", "run": self._last.run})
        self._last = standing
        say(standing)
        self._count()
        self._over.wait(self._interval_s)

    def _count(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self._over.set()

    def _is_over(self) -> bool:
        return self._over.is_set()
