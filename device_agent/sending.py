"""Sending and cleaning keep out of each other's way: what was sent must be there when the job names it."""

import fcntl
import os
from contextlib import contextmanager
from typing import Iterator

from device_agent import protocol
from device_agent.faults import AgentFault
from device_agent.work_folder import WorkFolder, make_folder


@contextmanager
def hold_off_cleaning(folder: WorkFolder) -> Iterator[None]:
    """Whoever sends, unpacks or puts a job down does it in here; many may at once."""
    descriptor = _open(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def hold_off_sending(folder: WorkFolder) -> Iterator[None]:
    """Cleaning happens in here. Raises AgentFault where something is being sent."""
    descriptor = _open(folder)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AgentFault(protocol.ERROR_SENDING, "files are being sent to the board") from error
        yield
    finally:
        os.close(descriptor)


def _open(folder: WorkFolder) -> int:
    make_folder(folder.root)
    return os.open(os.path.join(folder.root, "sending"), os.O_RDWR | os.O_CREAT, 0o600)
