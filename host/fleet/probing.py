"""What a board is, asked of the agent that we put there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError

from device_agent import protocol
from host.errors import BenchError, BoardBusy, DeviceError
from host.fleet.hardware_facts import (
    MAX_CORES,
    ClusterFacts,
    CoreNumber,
    JetsonClocksFacts,
    PowerModeFacts,
    ThermalZoneFacts,
    Word,
    show_said,
)
from host.fleet.journal import escape_controls
from host.fleet.remote import Completed, Remote
from host.fleet.ssh_intake import show_text
from host.specs.artifact import Blob
from host.specs.device import Device
from host.specs.reading import describe_faults
from host.specs.record import Record

PROBE_S = 120.0  # opening a runtime from a slow SD card takes a while
PUT_S = 60.0
WITH_PACKAGES = frozenset({"probe", "runtime", "start"})
"""Commands of the agent that look for runtimes, or start what does."""


Told = Annotated[Word, BeforeValidator(lambda found: "unknown" if found is None else found)]


class Libc(Record):
    """The C library, which decides which wheels run; `unknown` where the board cannot tell."""

    name: Told
    version: Told


class PowerSourceFacts(Record):
    """A source of power readings, and whether the agent may read it."""

    name: Word
    readable: bool
    note: Word | None = None


class RuntimeFacts(Record):
    """An inference runtime on the board; `max_opset` is the newest that it opens, `via` how it is called."""

    version: Word
    providers: tuple[Word, ...] = Field((), max_length=64)
    max_opset: int | None = Field(None, ge=1, le=1000)
    via: Word | None = None


class BoardFacts(Record):
    """What a board says of itself; what it cannot tell is None. `cores` are those that the agent may use.

    `loads_code` is False where the work folder lies on a disk from which no compiled module can be loaded.

    `root_would_add` are sentences on what the board tells only root; empty where the agent is root.
    """

    schema_version: int = Field(alias="schema")
    agent_version: Word
    python: Annotated[Word, StringConstraints(pattern=r"^\d+\.\d+\.")]
    implementation: Word | None
    machine: Word
    libc: Libc
    board: Word
    soc: Word | None = None
    cpu_model: Word | None = None
    cores: int | None = Field(None, ge=1, le=100_000)
    clusters: tuple[ClusterFacts, ...] = Field((), max_length=256)
    offline_cores: tuple[CoreNumber, ...] = Field((), max_length=MAX_CORES)
    gpu: Word | None = None
    memory_mb: float | None = Field(None, ge=0)
    swap_mb: float | None = Field(None, ge=0)
    os: Word | None = None
    kernel: Word | None = None
    governor: Word | None = None
    temperature_c: float | None = None
    thermal_zones: tuple[ThermalZoneFacts, ...] = Field((), max_length=256)
    l4t: Word | None = None
    jetpack: Word | None = None
    nvpmodel: PowerModeFacts | None = None
    jetson_clocks: JetsonClocksFacts | None = None
    is_root: bool | None = None
    root_would_add: tuple[Word, ...] = Field((), max_length=32)
    free_bytes: int | None = Field(None, ge=0)
    loads_code: bool | None = None
    power_sources: tuple[PowerSourceFacts, ...] = Field((), max_length=64)
    runtimes: dict[Word, RuntimeFacts] = Field(default_factory=dict, max_length=64)


class AgentFault(DeviceError):
    """The agent answered that it cannot do what was asked; `kind` is one of the protocol's."""

    def __init__(self, kind: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.kind = kind


def agent_path(device: Device, agent: Blob) -> str:
    """Where this very agent lies on the board."""
    return f"{device.work_folder.rstrip('/')}/agents/{agent.sha256}.pyz"


def agent_argv(device: Device, agent: Blob, *words: str) -> list[str]:
    """The command that runs the agent on the board with these words.

    Commands that need nothing but the standard library leave site-packages alone: Python starts in half
    the time, and a broken `.pth` file there cannot keep files and journals from us.
    """
    bare = () if words[0] in WITH_PACKAGES else ("-S",)
    return [device.python, *bare, agent_path(device, agent), "--work", device.work_folder, *words]


def call_agent(
    remote: Remote,
    device: Device,
    agent: Blob,
    words: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float = 30.0,
) -> dict[str, Any]:
    """The agent's answer. Raises BoardBusy, AgentFault or another DeviceError for what it refuses."""
    completed = remote.run(agent_argv(device, agent, *words), stdin=stdin, timeout=timeout)
    return parse_answer(device, completed)


def parse_answer(device: Device, completed: Completed) -> dict[str, Any]:
    """The JSON object that a program on the board answered, or the error that its exit code stands for."""
    answer = _read_object(completed.stdout)
    if completed.code == protocol.EXIT_OK and answer is not None:
        return answer
    told = answer.get("error") if answer is not None else None
    if isinstance(told, dict):
        raise describe_refusal(device, str(told.get("kind")), str(told.get("message")))
    raise describe_failure(device, completed)


def _read_object(text: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def describe_refusal(device: Device, kind: str, message: str) -> BenchError:
    """The error for what the agent refused, with what to do about it."""
    name, said = device.name, show_said(message)
    if kind == protocol.ERROR_LOCKED:
        return BoardBusy(
            f"{name}: another run measures: {said}", "Wait for its end, or end it where it runs."
        )
    if kind == protocol.ERROR_NO_SPACE:
        where = device.work_folder
        hint = f"Free space on the board, or give {name} a `work_folder:` on another disk in devices.yaml."
        return AgentFault(kind, f"{name}: the disk of {where} is full: {said}", hint)
    if kind == protocol.ERROR_READ_ONLY:
        hint = f"Give {name} a `work_folder:` in devices.yaml that its user may write to."
        return AgentFault(kind, f"{name}: {device.work_folder} cannot be written: {said}", hint)
    return AgentFault(kind, f"{name}: {said}", f"`bench devices probe {name}` shows how the board is.")


def describe_misfit(device: Device, word: str, error: ValidationError) -> DeviceError:
    """The error for an answer of the agent that is not what the command answers."""
    fault = error.errors(include_url=False, include_input=False)[0]
    where = escape_controls(".".join(str(part) for part in fault["loc"])[:80])
    return DeviceError(
        f"{device.name}: the agent's answer to `{word}` does not fit: {where}: {fault['msg'][:200]}",
        f"`bench devices probe {device.name}` sends the agent that belongs to this version of bench.",
    )


def describe_failure(device: Device, completed: Completed) -> DeviceError:
    """The error for a command on the board that ended without an answer."""
    name, python, code = device.name, device.python, completed.code
    said = show_text(completed.stderr) or show_text(completed.stdout) or "nothing"
    if code in (126, 127) or "command not found" in said.lower():
        return DeviceError(
            f"{name}: there is no {python} on the board: {said}",
            "Install Python 3.6 or newer there (`sudo apt install python3`), or name an interpreter as "
            "`python:` in devices.yaml.",
        )
    if code == protocol.EXIT_OLD_PYTHON:
        return DeviceError(
            f"{name}: {python} is too old: {said}",
            "Name a newer interpreter of the board as `python:` in devices.yaml.",
        )
    ended = "was killed by a signal" if code == -1 else f"ended with exit code {code}"
    return DeviceError(
        f"{name}: the agent {ended} and said: {said}",
        f"`bench devices probe {name}` tries again; a board out of memory kills programs.",
    )


def bootstrap_agent(remote: Remote, device: Device, agent: Blob) -> bool:
    """Put the agent on the board unless it is there already; whether it had to be sent.

    Raises DeviceError for a board without python3, with an old one, or that cannot keep a file.
    """
    words = [device.python, "-S", "-c", _READ_PROGRAM, agent_path(device, agent), agent.sha256]
    found = parse_answer(device, remote.run([*words, "look"], stdin=_PUT_LINE, timeout=PUT_S))
    if found.get("present") is True:
        return False
    parse_answer(device, remote.send([*words, "put"], [_PUT_LINE, agent.path.read_bytes()], timeout=PUT_S))
    return True


def probe_board(remote: Remote, device: Device, agent: Blob, layer_sha: str | None = None) -> BoardFacts:
    """What the board is; with a layer on its path, also which runtimes that brings."""
    layer = () if layer_sha is None else ("--layer", layer_sha)
    answer = call_agent(remote, device, agent, ("probe", *layer), timeout=PROBE_S)
    try:
        return BoardFacts.model_validate(answer)
    except ValidationError as error:
        faults = "; ".join(describe_faults(error, answer))
        raise DeviceError(
            f"{device.name}: what the agent says of the board is not understood: {faults}",
            "This is a fault of boardbench or of the board's agent: please report it.",
        ) from error


# Runs on the board before there is an agent, under whatever its interpreter is: Python 2.7 must be able to
# say that it is too old. The folder of the session may hold a json.py, hence the first line.
_PUT = f"""
import sys
sys.path.pop(0)
if sys.version_info[:2] < {protocol.OLDEST_PYTHON!r}:
    sys.stderr.write("this is Python %s" % sys.version.split()[0])
    sys.exit({protocol.EXIT_OLD_PYTHON})
import errno, hashlib, json, os
os.umask(0o077)
path, sha256, task = sys.argv[1:]
def hash_of(data):
    return hashlib.sha256(data).hexdigest()
def look():
    if not os.path.isfile(path):
        return {{"present": False}}
    with open(path, "rb") as file:
        return {{"present": hash_of(file.read()) == sha256}}
def put():
    data = sys.stdin.buffer.read()
    if hash_of(data) != sha256:
        return fail("{protocol.ERROR_CORRUPT}", "the agent arrived damaged")
    folder = os.path.dirname(path)
    for each in (os.path.dirname(folder), folder):
        if not os.path.isdir(each):
            os.makedirs(each, 0o700)
    part = "%s.%d.part" % (path, os.getpid())
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, path)
    return {{"present": True}}
def fail(kind, message):
    return {{"error": {{"kind": kind, "message": message}}}}
def name_of(number):
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "{protocol.ERROR_NO_SPACE}"
    if number in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
        return "{protocol.ERROR_READ_ONLY}"
    return "{protocol.ERROR_OTHER}"
try:
    answer = look() if task == "look" else put()
except OSError as error:
    answer = fail(name_of(error.errno), str(error))
print(json.dumps(answer))
sys.exit({protocol.EXIT_FAULT} if "error" in answer else 0)
"""

# As the first line of standard input: csh reads no command line that holds a newline.
_READ_PROGRAM = 'import sys; exec(getattr(sys.stdin, "buffer", sys.stdin).readline())'
_PUT_LINE = f"exec({_PUT!r})\n".encode()
