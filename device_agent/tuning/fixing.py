"""Changing a board for measurements, and changing it back: after the next run, or when asked to.

Whoever calls holds the board's lock. So a record of a run, or of a change that is under way, is one of a
process that is dead, and what it left is put back. What `doctor --fix` has left for the next run waits.
"""

import os
import sys
import time
from typing import Any, Dict, List, Optional

from device_agent import protocol
from device_agent.as_root import Refused
from device_agent.faults import AgentFault
from device_agent.sensors.processes import pick_names, read_processes
from device_agent.tuning.record import (
    APPLYING,
    HELD,
    RESTORING,
    STEPS,
    WAITING,
    Change,
    Tuning,
    Unreadable,
    begin,
    find_record,
    load,
    save,
)
from device_agent.tuning.step import Place, Step

Fields = Dict[str, Any]
Outcome = Dict[str, Optional[str]]

DONE = "done"
ALREADY = "already"
REFUSED = "refused"
FAILED = "failed"  # it could not be put back

_COMMANDS = ("jetson_clocks", "nvpmodel")
_COMMANDS_S = 60.0
_PAUSE_S = 0.1


def fix(place: Place, holder: str) -> List[Outcome]:
    """Apply every step that this board has. What cannot be is told, and left as it was.

    Raises AgentFault where a record is there that nobody can read.
    """
    settle(place)
    tuning = _load_or_fail(place) or begin(place, holder)
    outcomes = []
    for step in STEPS:
        tuning, outcome = _take(place, tuning, step)
        outcomes += [] if outcome is None else [outcome]
    save(place, tuning._replace(state=WAITING))
    return outcomes


def _take(place: Place, tuning: Tuning, step: Step) -> Any:
    """The record with the step, and what came of it; None where the board has nothing of the kind."""
    known = {one.step.kind for one in tuning.changes}
    try:
        if not step.is_here(place):
            return tuning, None
        if step.is_done(place):
            state = DONE if step.kind in known else ALREADY
            return tuning, _tell(step, state, _find_before(tuning, step))
        if step.kind not in known:
            change = Change(step, step.prepare(place))
            tuning = tuning._replace(state=APPLYING, changes=tuning.changes + (change,))
        save(place, tuning._replace(state=APPLYING))
        step.apply(place)
    except Refused as refused:
        left, failure = _put_back(place, tuning, step)
        message = str(refused) if failure is None else "{}; {}".format(refused, failure)
        return left, _tell(step, REFUSED, _find_before(tuning, step), message)
    return tuning, _tell(step, DONE, _find_before(tuning, step))


def _put_back(place: Place, tuning: Tuning, step: Step) -> Any:
    """The record without a step that did not take, and why it is still there where it cannot be undone."""
    for change in tuning.changes:
        if change.step.kind == step.kind:
            try:
                step.undo(place, change.before)
            except Refused as refused:
                return tuning, str(refused)
            left = tuning._replace(changes=tuple(one for one in tuning.changes if one is not change))
            save(place, left)
            return left, None
    return tuning, None


def _find_before(tuning: Tuning, step: Step) -> Optional[str]:
    return next((step.describe(one.before) for one in tuning.changes if one.step.kind == step.kind), None)


def _tell(step: Step, state: str, before: Optional[str], message: Optional[str] = None) -> Outcome:
    return {"kind": step.kind, "state": state, "wanted": step.wanted, "before": before, "message": message}


def restore(place: Place) -> List[Outcome]:
    """Put everything back, last change first. What cannot be put back stays in the record, and is told."""
    tuning = _load_or_fail(place)
    return [] if tuning is None else _restore(place, tuning)


def _restore(place: Place, tuning: Tuning) -> List[Outcome]:
    if tuning.state in (APPLYING, RESTORING):
        _wait_for_commands()
    save(place, tuning._replace(state=RESTORING))
    outcomes: List[Outcome] = []
    left = list(tuning.changes)
    has_restarted = tuning.boot != place.boot()
    for change in reversed(tuning.changes):
        before = change.step.describe(change.before)
        try:
            if change.step.survives_restart or not has_restarted:
                change.step.undo(place, change.before)
        except Refused as refused:
            outcomes.append(_tell(change.step, FAILED, before, str(refused)))
            continue
        left.remove(change)
        outcomes.append(_tell(change.step, DONE, before))
    save(place, tuning._replace(state=RESTORING, changes=tuple(left)))
    return outcomes


def _wait_for_commands() -> None:
    """Wait while a command works that outlives the process that was killed: it changes what we put back."""
    until = time.monotonic() + _COMMANDS_S
    while time.monotonic() < until and pick_names(read_processes("/"), _COMMANDS):
        time.sleep(_PAUSE_S)


def _load_or_fail(place: Place) -> Optional[Tuning]:
    try:
        return load(place)
    except Unreadable as error:
        raise AgentFault(protocol.ERROR_OTHER, str(error)) from error


def settle(place: Place) -> List[Outcome]:
    """Put back what a dead process or an earlier start of the board has left; what waits for a run, waits."""
    try:
        tuning = load(place)
    except Unreadable as error:
        sys.stderr.write("{}\n".format(error))  # `doctor` tells it, and what to do
        return []
    if tuning is None or (tuning.state == WAITING and tuning.boot == place.boot()):
        return []
    return _restore(place, tuning)


def claim(place: Place, run: str) -> Optional[Fields]:
    """What is in force while a run measures, in the run's name from now on; None where nothing is.

    A run that goes on after it was killed keeps what it measured with before. What any other has left is put
    back first. A record that nobody can read keeps no run from measuring.
    """
    try:
        tuning = load(place)
        if tuning is None:
            return None
        is_ours = tuning.state == WAITING or (tuning.state == HELD and tuning.run == run)
        if is_ours and tuning.boot == place.boot():
            save(place, tuning._replace(state=HELD, run=run))
            return describe(tuning)
        for outcome in _restore(place, tuning):
            _report(outcome)
    except Unreadable as error:
        sys.stderr.write("{}\n".format(error))
    return None


def release(place: Place) -> None:
    """Put back what a run was measured with. What cannot be is in the run's log, and tried again by the next
    who holds the lock."""
    try:
        for outcome in restore(place):
            _report(outcome)
    except (AgentFault, OSError) as error:
        sys.stderr.write("what doctor --fix changed could not be put back: {}\n".format(error))


def _report(outcome: Outcome) -> None:
    if outcome["state"] == FAILED:
        sys.stderr.write("{kind} could not be put back to {before}: {message}\n".format(**outcome))


def describe(tuning: Tuning) -> Fields:
    """What is changed, as the environment of a measurement tells it."""
    return {
        "since": tuning.since,
        "holder": tuning.holder,
        "changed": [
            {"kind": one.step.kind, "now": one.step.wanted, "before": one.step.describe(one.before)}
            for one in tuning.changes
        ],
    }


def look(place: Place) -> Optional[Fields]:
    """What is changed on the board now; `problem` where nobody can tell."""
    try:
        tuning = load(place)
    except Unreadable as error:
        return {"problem": str(error), "path": os.path.abspath(find_record(place))}
    return None if tuning is None else dict(describe(tuning), state=tuning.state, run=tuning.run)
