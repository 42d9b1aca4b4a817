"""Whether a file still is what its name says: disks forget, and a changed model measures like a right one."""

import os

from device_agent import protocol
from device_agent.faults import AgentFault
from device_agent.work_folder import WorkFolder

_CHUNK = 1 << 18
_SAID = {protocol.ERROR_MISSING: 3, protocol.ERROR_CORRUPT: 4}  # exit codes of a check apart
_MESSAGES = {
    protocol.ERROR_MISSING: "is not on the board",
    protocol.ERROR_CORRUPT: "was damaged on the board's disk; it is removed, and resuming sends it anew",
}


def check_blob(folder: WorkFolder, sha256: str) -> str:
    """The path of a blob. Raises AgentFault for one that is missing, or damaged: that one is removed, so that
    it is sent anew."""
    path = folder.blob(sha256)
    if not os.path.isfile(path):
        raise _make_fault(protocol.ERROR_MISSING)
    if hash_file(path) != sha256:
        os.unlink(path)
        raise _make_fault(protocol.ERROR_CORRUPT)
    return path


def check_apart(folder: WorkFolder, sha256: str) -> None:
    """As `check_blob`, by a process of its own: the memory of what hashes is not that of a measurement."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            check_blob(folder, sha256)
            code = 0
        except AgentFault as fault:
            code = _SAID[fault.kind]
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    for kind, code in _SAID.items():
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == code:
            raise _make_fault(kind)
    if status != 0:
        check_blob(folder, sha256)  # whatever ended the other one is told by this one


def _make_fault(kind: str) -> AgentFault:
    return AgentFault(kind, _MESSAGES[kind])


def hash_file(path: str) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    import hashlib  # three megabytes of OpenSSL

    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()
