"""Boards made ready for measurements: looked at side by side, changed where asked to, and changed back."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from functools import partial

from host.crew import Crew, Ended, Say
from host.errors import BenchError, UsageError
from host.fleet.agent_archive import build_agent
from host.fleet.boards import Chosen, choose_devices, wake_device
from host.fleet.conditions import Outcome, ask_conditions, fix_board, restore_board
from host.fleet.probing import bootstrap_agent, probe_board
from host.fleet.reaching import open_remote
from host.fleet.registry import load_devices
from host.login import find_login
from host.readiness.clocks import judge_clocks
from host.readiness.finding import BoardFinding, Look
from host.readiness.health import judge_health
from host.readiness.load import judge_load
from host.readiness.sources import judge_sources
from host.specs.device import Device
from host.workspace import Workspace

JUDGES = (judge_clocks, judge_health, judge_load, judge_sources)

NAMES = {"power-mode": "power mode", "governor": "governor", "clocks": "jetson_clocks"}
"""The checks that a change belongs to, by its kind on the board."""


class Change(Enum):
    """What is to be done to a board beside looking at it."""

    NOTHING = "nothing"
    FIX = "fix"
    RESTORE = "restore"


def check_boards(
    names: Sequence[str], workspace: Workspace, change: Change = Change.NOTHING
) -> tuple[list[BoardFinding], Mapping[str, BenchError]]:
    """Every finding about the boards, in the order asked for, and the errors of those that did not answer.

    With FIX they are changed first, and judged as they are then; with RESTORE they are changed back, and only
    that is told.
    """
    chosen = choose_devices((), names, load_devices(workspace))
    build_agent(workspace.cache)  # once, before all boards ask for it side by side
    work = {one.name: partial(_check_board, one, workspace, change) for one in chosen}
    ended = {one.name: one for one in Crew().start(work).listen() if isinstance(one, Ended)}
    findings: list[BoardFinding] = []
    errors: dict[str, BenchError] = {}
    for one in chosen:
        told = ended[one.name]
        if isinstance(told.error, BenchError):
            errors[one.name] = told.error
            findings.append(_tell_unreached(one.name, told.error))
        elif told.error is not None:
            raise told.error
        elif isinstance(told.value, list):
            findings += told.value
    return findings, errors


def _tell_unreached(name: str, error: BenchError) -> BoardFinding:
    return BoardFinding(device=name, check="reach", is_fine=False, found=error.message, advice=error.hint)


def _check_board(chosen: Chosen, workspace: Workspace, change: Change, _say: Say) -> list[BoardFinding]:
    device = wake_device(chosen, workspace)
    agent = build_agent(workspace.cache)
    with open_remote(device) as remote:
        bootstrap_agent(remote, device, agent)
        if change is Change.RESTORE:
            outcomes = restore_board(remote, device, agent, name_asker())
            return [_tell_restored(device, one) for one in outcomes] or [_tell_unchanged(device)]
        done = fix_board(remote, device, agent, name_asker()) if change is Change.FIX else ()
        seen = ask_conditions(remote, device, agent)
        look = Look(device, probe_board(remote, device, agent), seen)
    return list(judge_board(look, done))


def name_asker() -> str:
    """Who changes a board, as others are told."""
    return f"{find_login()}@{socket.gethostname()}"


def judge_board(look: Look, done: Sequence[Outcome] = ()) -> Iterator[BoardFinding]:
    """Every finding about a board, from what it has told; `done` is what has just been changed there."""
    refused = {NAMES.get(one.kind, one.kind): one for one in done if one.state == "refused"}
    for judge in JUDGES:
        for finding in judge(look):
            told = refused.pop(finding.check, None)
            yield finding if told is None or finding.is_fine else _add_refusal(finding, told)
    for name, one in refused.items():
        yield look.wrong(name, f"--fix could not: {one.message}", f"As root: {one.wanted}.")
    yield from _judge_fix(look)


def _add_refusal(finding: BoardFinding, refused: Outcome) -> BoardFinding:
    """A finding that --fix was to mend, with why it could not."""
    advice = f"--fix could not: {refused.message}. {finding.advice or ''}".strip()
    if refused.message and "sudo" in refused.message and "password" in refused.message:
        advice += " sudo must not ask for a password: docs/doctor.md has the lines for /etc/sudoers.d."
    return finding.model_copy(update={"is_fine": False, "advice": advice, "can_fix": False})


def _judge_fix(look: Look) -> Iterator[BoardFinding]:
    """What is changed on the board now, and what was just put back for a run that is dead."""
    for one in look.now.settled:
        yield _tell_restored(look.device, one)
    fix, name = look.now.fix, look.device.name
    if fix is None:
        return
    if fix.problem is not None:
        advice = (
            "Nobody can tell what is changed there. Look at the file; without it, all counts as unchanged."
        )
        yield look.wrong("fix", fix.problem, advice, shlex.join(["rm", fix.path or ""]))
        return
    changed = ", ".join(
        f"{NAMES.get(one.kind, one.kind)} {one.now} (was {one.before})" for one in fix.changed
    )
    restoring = f"Put back at the end of the next run there, or by: bench doctor --device {name} --restore"
    if fix.state == "restoring":
        advice = "It could not be put back, and is tried again by the next run."
        yield look.wrong("fix", f"{changed}, since {fix.since}", advice, "sudo reboot")
    else:
        yield look.fine("fix", f"{changed}, since {fix.since} by {fix.holder}", restoring)


def _tell_restored(device: Device, outcome: Outcome) -> BoardFinding:
    name = NAMES.get(outcome.kind, outcome.kind)
    is_back = outcome.state == "done"
    found = f"back to {outcome.before}" if is_back else f"not back to {outcome.before}: {outcome.message}"
    return BoardFinding(
        device=device.name,
        check=f"restore {name}",
        is_fine=is_back,
        found=found,
        advice=None if is_back else "It is tried again by the next run, or the next --restore.",
        command=None if is_back or outcome.kind == "power-mode" else "sudo reboot",
    )


def _tell_unchanged(device: Device) -> BoardFinding:
    return BoardFinding(device=device.name, check="restore", is_fine=True, found="nothing was changed there")


def check_words(names: Sequence[str], *, is_fixing: bool, is_restoring: bool) -> Change:
    """The change that a command line asks for. Raises UsageError where it contradicts itself."""
    if is_fixing and is_restoring:
        raise UsageError("--fix changes a board and --restore changes it back", "Leave one of them out.")
    if (is_fixing or is_restoring) and not names:
        raise UsageError("no board is named to change", "Name it with --device.")
    return Change.FIX if is_fixing else Change.RESTORE if is_restoring else Change.NOTHING
