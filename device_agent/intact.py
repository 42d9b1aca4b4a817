"""Whether a file still is what its name says: disks forget, and a changed model measures like a right one."""

import hashlib
import os

from device_agent import protocol
from device_agent.faults import AgentFault
from device_agent.work_folder import WorkFolder

_CHUNK = 1 << 18


def check_blob(folder: WorkFolder, sha256: str) -> str:
    """The path of a blob. Raises AgentFault for one that is missing, or damaged: that one is removed, so that
    it is sent anew."""
    path = folder.blob(sha256)
    if not os.path.isfile(path):
        raise AgentFault(protocol.ERROR_MISSING, "is not on the board")
    if hash_file(path) != sha256:
        os.unlink(path)
        raise AgentFault(
            protocol.ERROR_CORRUPT,
            "was damaged on the board's disk; it is removed, and resuming sends it anew",
        )
    return path


def hash_file(path: str) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()
