"""Watching a run from outside: its journal as it grows, and asking it to end."""

import contextlib
import json
import os
import signal
import sys
from typing import Any, Dict, Optional

from device_agent import protocol
from device_agent.faults import AgentFault
from device_agent.journal import Tail
from device_agent.lock import find_holder
from device_agent.notify import connect, wait_poke
from device_agent.work_folder import WorkFolder, write_file

STOP_TIMEOUT_S = 15.0


def follow_journal(folder: WorkFolder, run: str, after: int, silence_s: Optional[float] = None) -> int:
    """Print lines after a sequence number, as they come, until the run has ended. The exit code.

    A run that says nothing for `silence_s` hangs where its own timeouts do not reach: in the kernel.
    """
    if not os.path.isdir(folder.run(run)):
        raise AgentFault(protocol.ERROR_MISSING, "there is no run {!r} on the board".format(run))
    run_socket = connect(folder.run(run))
    if not os.path.exists(folder.journal(run)):
        raise AgentFault(protocol.ERROR_MISSING, "run {!r} has not been started".format(run))
    tail, is_alive = Tail(folder.journal(run)), run_socket is not None
    try:
        while True:
            last = _print_lines(tail, after)
            if last == protocol.EVENT_RUN_ENDED:
                return protocol.EXIT_OK
            if not is_alive or run_socket is None:
                return _say_gone(run)
            is_alive = wait_poke(run_socket, sys.stdout.fileno(), silence_s)
    except TimeoutError:
        return _say_silent(run, silence_s)
    except BrokenPipeError:
        # Nobody reads any more. What Python would still flush at its end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return protocol.EXIT_FAULT


def _print_lines(tail: Tail, after: int) -> Optional[str]:
    """The last event that was added, printed or not."""
    last = None
    for line in tail.read():
        last = line.event
        if line.seq > after:
            sys.stdout.buffer.write(line.raw)
    sys.stdout.buffer.flush()
    return last


def _say_gone(run: str) -> int:
    message = "the process of run {!r} is gone and has not said how it ended; start it again".format(run)
    sys.stderr.write(json.dumps({"error": {"kind": protocol.ERROR_OTHER, "message": message}}) + "\n")
    return protocol.EXIT_FAULT


def _say_silent(run: str, silence_s: Optional[float]) -> int:
    message = "run {!r} lives and has said nothing for {:.0f} s".format(run, silence_s or 0.0)
    sys.stderr.write(json.dumps({"error": {"kind": protocol.ERROR_OTHER, "message": message}}) + "\n")
    return protocol.EXIT_SILENT


def stop_run(folder: WorkFolder, run: str) -> Dict[str, Any]:
    """Ask a run to end and wait until it has; `stopped` is false where it was not running."""
    holder = find_holder(folder)
    if holder is None or holder.get("run") != run:
        return {"stopped": False}
    run_socket = connect(folder.run(run))
    with contextlib.suppress(OSError):  # a full disk is no reason to go on
        write_file(folder.stop_mark(run), b"")
    os.kill(int(holder["pid"]), signal.SIGTERM)
    try:
        while run_socket is not None and wait_poke(run_socket, None, STOP_TIMEOUT_S):
            pass
    except TimeoutError as error:
        message = "run {!r} (process {}) did not end within {:.0f} s".format(
            run, holder["pid"], STOP_TIMEOUT_S
        )
        raise AgentFault(protocol.ERROR_OTHER, message) from error
    return {"stopped": True}
