"""One run at a time on a board: a lock that the kernel drops with its holder, and that says who it is."""

import fcntl
import json
import os
import socket
import time
from typing import Any, Dict, Optional

from device_agent import protocol
from device_agent.faults import AgentFault
from device_agent.work_folder import WorkFolder, make_folder

# `status` looks at the lock by taking it for a moment, and a run that has said that it ended still has to
# let go: a run that meets either tries again.
_TRIES = 10
_PAUSE_S = 0.1
_MAX_TEXT = 4096


def acquire_lock(folder: WorkFolder, run: str, holder: str) -> int:
    """The descriptor that holds the lock while it is open. Raises AgentFault naming who has it."""
    make_folder(folder.root)
    descriptor = os.open(folder.lock, os.O_RDWR | os.O_CREAT, 0o600)
    for _ in range(_TRIES):
        if _try_lock(descriptor, fcntl.LOCK_EX):
            _write_holder(descriptor, run, holder)
            return descriptor
        time.sleep(_PAUSE_S)
    told = _read_holder(descriptor)
    os.close(descriptor)
    message = "{} since {}".format(
        told.get("holder") or "another run", told.get("since") or "an unknown time"
    )
    raise AgentFault(protocol.ERROR_LOCKED, message, protocol.EXIT_LOCKED)


def find_holder(folder: WorkFolder) -> Optional[Dict[str, Any]]:
    """Who measures now: run, pid, holder, host and since; None where nobody does."""
    try:
        descriptor = os.open(folder.lock, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        if _try_lock(descriptor, fcntl.LOCK_SH):
            return None
        return _read_holder(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(descriptor: int, run: str, holder: str) -> None:
    told = {
        "run": run,
        "pid": os.getpid(),
        "holder": holder,
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(told).encode(), 0)


def _read_holder(descriptor: int) -> Dict[str, Any]:
    """What the holder wrote; empty while it is still writing."""
    try:
        told = json.loads(os.pread(descriptor, _MAX_TEXT, 0).decode())
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
