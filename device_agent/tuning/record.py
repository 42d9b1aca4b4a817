"""The file that says what was changed on this board: written and on the disk before anything is changed."""

import contextlib
import json
import os
import time
from typing import Any, List, NamedTuple, Optional, Tuple

from device_agent.tuning.clocks import CLOCKS, find_stored
from device_agent.tuning.governor import GOVERNOR
from device_agent.tuning.power_mode import POWER_MODE
from device_agent.tuning.step import Place, Step
from device_agent.work_folder import write_file

STEPS = (POWER_MODE, GOVERNOR, CLOCKS)
"""In the order in which they are applied: a power mode sets limits, within which the others work."""

APPLYING = "applying"  # by a process that holds the board's lock, or was killed
WAITING = "waiting"  # for the next run
HELD = "held"  # by a run
RESTORING = "restoring"  # by a process that holds the board's lock, or was killed, or could not
_STATES = (APPLYING, WAITING, HELD, RESTORING)

_SCHEMA = 1
_MAX_BYTES = 1 << 16
_MAX_WORD = 200


class Change(NamedTuple):
    """A step that was taken, and what was before."""

    step: Step
    before: Any


class Tuning(NamedTuple):
    """What is changed on the board, by whom, in which start of the board, and since when."""

    state: str
    changes: Tuple[Change, ...]
    boot: Optional[str]
    holder: str
    since: str
    run: Optional[str] = None


class Unreadable(Exception):
    """The file is there, and nobody can tell what it says."""


def find_record(place: Place) -> str:
    return os.path.join(place.folder.root, "tuning.json")


def begin(place: Place, holder: str) -> Tuning:
    """A record of nothing yet."""
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return Tuning(APPLYING, (), place.boot(), holder[:_MAX_WORD], since)


def save(place: Place, tuning: Tuning) -> None:
    """Write the record so that a power cut right afterwards finds it; without changes there is none."""
    path = find_record(place)
    if tuning.changes:
        content = {
            "schema": _SCHEMA,
            "state": tuning.state,
            "boot": tuning.boot,
            "holder": tuning.holder,
            "since": tuning.since,
            "run": tuning.run,
            "changes": [{"kind": one.step.kind, "before": one.before} for one in tuning.changes],
        }
        write_file(path, json.dumps(content).encode())
    elif os.path.exists(path):
        os.unlink(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(find_stored(place))
    else:
        return
    _sync_folder(os.path.dirname(path))


def _sync_folder(path: str) -> None:
    """A file that was renamed is on the disk when its folder is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load(place: Place) -> Optional[Tuning]:
    """The record, None where nothing is changed. Raises Unreadable."""
    try:
        with open(find_record(place), "rb") as file:
            return parse(file.read(_MAX_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise Unreadable("{} cannot be read: {}".format(find_record(place), error)) from error


def parse(content: bytes) -> Tuning:
    """Raises ValueError for anything that we do not write."""
    told = json.loads(content.decode())
    if not isinstance(told, dict) or told.get("schema") != _SCHEMA or told.get("state") not in _STATES:
        raise ValueError("it has not the shape of a record")
    words = [told.get(key) for key in ("boot", "holder", "since", "run")]
    if not all(word is None or (isinstance(word, str) and len(word) <= _MAX_WORD) for word in words):
        raise ValueError("a word of it is none")
    boot, holder, since, run = words
    return Tuning(told["state"], tuple(_parse_changes(told)), boot, holder or "", since or "", run)


def _parse_changes(told: Any) -> List[Change]:
    steps = {step.kind: step for step in STEPS}
    listed = told.get("changes")
    found = []
    for one in listed if isinstance(listed, list) else [None]:
        kind, before = (one.get("kind"), one.get("before")) if isinstance(one, dict) else (None, None)
        step = steps.pop(kind, None) if isinstance(kind, str) else None
        if step is None or not step.is_valid(before):
            raise ValueError("a change of it is none that we make")
        found.append(Change(step, before))
    return found
