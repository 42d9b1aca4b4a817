"""The folders of one board: paths, names that are safe as file names, and files that appear whole."""

import os
import re

from device_agent import protocol
from device_agent.faults import AgentFault

_NAME = re.compile(r"^[0-9a-zA-Z_-][0-9a-zA-Z._-]{0,79}\Z")
_SHA256 = re.compile(r"^[0-9a-f]{64}\Z")


def is_name(name: str) -> bool:
    """Whether a run or a task may be called so."""
    return _NAME.match(name) is not None


def check_name(name: object) -> str:
    """The name of a run or task, which becomes part of a path; raises AgentFault for any other word."""
    if not isinstance(name, str) or not is_name(name):
        raise AgentFault(protocol.ERROR_BAD_JOB, "not a name of a run or task: {!r}".format(name))
    return name


def check_sha256(value: object) -> str:
    """The 64 hexadecimal digits that name a blob or layer; raises AgentFault for anything else."""
    if not isinstance(value, str) or not _SHA256.match(value):
        raise AgentFault(protocol.ERROR_BAD_JOB, "not a SHA-256: {!r}".format(value))
    return value


class WorkFolder:
    """Where the agent keeps everything. Folders are made when something is first written to them."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))

    @property
    def lock(self) -> str:
        return os.path.join(self.root, "lock")

    @property
    def board(self) -> str:
        """What is known of the board from one run to the next."""
        return os.path.join(self.root, "board.json")

    @property
    def engines(self) -> str:
        """What runtimes build from models on this board, and what outlives a run."""
        return os.path.join(self.root, "engines")

    def blob(self, sha256: str) -> str:
        return os.path.join(self.root, "blobs", check_sha256(sha256))

    def layer(self, sha256: str) -> str:
        return os.path.join(self.root, "layers", check_sha256(sha256))

    def run(self, run: str) -> str:
        return os.path.join(self.root, "runs", check_name(run))

    def job(self, run: str) -> str:
        return os.path.join(self.run(run), "job.json")

    def journal(self, run: str) -> str:
        return os.path.join(self.run(run), "journal.jsonl")

    def stop_mark(self, run: str) -> str:
        """Is there where somebody asked the run to stop: other signals are those of a shutdown."""
        return os.path.join(self.run(run), "stop")

    def free_bytes(self) -> int:
        """What an unprivileged user may still write to the disk of the work folder."""
        disk = self._disk()
        return disk.f_bavail * disk.f_frsize

    def loads_code(self) -> bool:
        """Whether the kernel loads compiled modules from here: not where it is mounted noexec."""
        return not self._disk().f_flag & os.ST_NOEXEC

    def _disk(self) -> os.statvfs_result:
        folder = self.root
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        return os.statvfs(folder)


def make_folder(path: str) -> str:
    """The folder, made with its parents for its owner alone where it is missing."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def write_file(path: str, content: bytes) -> None:
    """A file that is there whole or not at all."""
    make_folder(os.path.dirname(path))
    part = "{}.{}.part".format(path, os.getpid())
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(part, path)
    except OSError:
        if os.path.exists(part):
            os.unlink(part)
        raise
