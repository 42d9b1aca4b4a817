"""Where a board stands, told in one look: who measures, which step of what, and how much is done."""

import json
import os
import time
from typing import Any, BinaryIO, Dict, Optional

from device_agent import protocol
from device_agent.journal import parse_head
from device_agent.lock import find_holder
from device_agent.work_folder import WorkFolder

Answer = Dict[str, Any]

RECEIVING_S = 10.0
"""A cut-off file that grew so recently is being sent; an older one waits for who goes on with it."""

_BLOCK = 1 << 16
_KEYS = ("task", "phase", "round")


def describe_standing(folder: WorkFolder) -> Answer:
    """Who holds the lock, where its run stands, and whether files arrive."""
    holder = find_holder(folder)
    run = holder.get("run") if holder else None
    return {
        "holder": holder,
        "run": read_standing(folder, run) if isinstance(run, str) else None,
        "is_receiving": is_receiving(folder),
    }


def is_receiving(folder: WorkFolder) -> bool:
    """Whether a file of a deployment grows just now."""
    now = time.time()
    for kind in ("blobs", "agents", "layers"):
        path = os.path.join(folder.root, kind)
        for name in os.listdir(path) if os.path.isdir(path) else ():
            if ".part" in name and _age_s(os.path.join(path, name), now) < RECEIVING_S:
                return True
    return False


def _age_s(path: str, now: float) -> float:
    """Seconds since a file changed; endless for one that is gone meanwhile."""
    try:
        return abs(now - os.path.getmtime(path))
    except OSError:
        return float("inf")


def read_standing(folder: WorkFolder, run: str) -> Optional[Answer]:
    """The last step that a run has told of, and how far it was then; None where it has told of none."""
    try:
        with open(folder.journal(run), "rb") as file:
            last = read_last(file, protocol.EVENT_PROGRESS)
        if last is None:
            return None
        told: Answer = dict(last["tally"])
        told.update({key: last.get(key) for key in _KEYS})
        told["elapsed_s"] += max(0.0, time.monotonic() - last["mono"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return told


def read_last(file: BinaryIO, event: str) -> Optional[Answer]:
    """The last event of that name, looked for from the end: a look at a long journal costs no more."""
    start = end = file.seek(0, os.SEEK_END)
    rest = b""
    while start > 0:
        size = min(_BLOCK, start)
        start -= size
        file.seek(start)
        lines = (file.read(size) + rest).split(b"\n")
        if start + size == end:
            lines.pop()  # empty, or a line that is being written
        rest = lines.pop(0) if lines else b""  # its beginning is further ahead
        if start == 0:
            lines.insert(0, rest)
        for line in reversed(lines):
            if parse_head(line) == event:
                found: Answer = json.loads(line.decode())
                return found
    return None
