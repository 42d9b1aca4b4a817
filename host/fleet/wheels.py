"""Which wheels run on a board: the tags by which pip chooses, and what there is where none of them fits."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from host.errors import BenchError, DeviceError
from host.fleet.probing import BoardFacts
from host.fleet.requirements import PACKAGED
from host.progress import Silent, Tick
from host.specs.record import Record

_OFFLINE = re.compile(r"connection broken by|Failed to establish a new connection|name resolution|ProxyError")
_NO_WHEEL = re.compile(r"No matching distribution found for (([A-Za-z0-9][A-Za-z0-9._-]*)[^\s(]*)")
_SKIPPED = re.compile(r"none of the wheel's tags \(([^)]*)\)")
_TAG = re.compile(
    r"(?:cp|py)(?P<major>\d)(?P<minor>\d*)-\w+-"
    r"(?:any|(?P<family>(?:many|musl)?linux(?:20\d\d|1)?)(?:_(?P<first>\d+)_(?P<second>\d+))?_(?P<machine>[a-z]\w*))"
)
_LIBC_VERSION = re.compile(r"\d+\.\d+(\..*)?")
_OLDEST_GLIBC_MINOR = {"x86_64": 5, "i686": 5}  # PEP 513; every other architecture began with 2.17
_GLIBC_ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}  # PEP 600
_SAME_WHEELS = {"armv8l": "armv7l", "arm64": "aarch64", "amd64": "x86_64", "i386": "i686", "i586": "i686"}


class Target(Record):
    """What decides which wheels a board can use."""

    python: str
    machine: str
    libc: str
    libc_version: str

    def __str__(self) -> str:
        return f"Python {self.python} on {self.machine} with {self.libc} {self.libc_version}"


class NoWheel(DeviceError):
    """A package has no wheel for a board; `there_is` says for what it has some, where that is known."""

    def __init__(self, package: str, target: Target, there_is: str = "", device: str = "") -> None:
        reason = f": {there_is}" if there_is else ""
        at = f"{device}: " if device else ""
        super().__init__(f"{at}{package} has no wheel for {target}{reason}", _name_choices(package))
        self.package = package
        self.target = target
        self.there_is = there_is


def name_device(error: DeviceError, device: str) -> DeviceError:
    """The same error, with the device that it is about."""
    if isinstance(error, NoWheel):
        return NoWheel(error.package, error.target, error.there_is, device)
    return DeviceError(f"{device}: {error.message}", error.hint)


def _name_choices(package: str) -> str:
    """What to do where a package cannot be had for a board."""
    others = " or ".join(name for name in PACKAGED if name != package)
    another = f"measure with another runtime ({others}); " if package in PACKAGED else ""
    return (
        f"The choices: {another}put a system with another Python or libc on the board; install {package} "
        "there, from apt, from an index for such boards or from source, and name that interpreter with "
        "`python:` of the device in devices.yaml; or let pip here know an index that has wheels for the "
        "board (`pip config set global.extra-index-url URL`)."
    )


def describe_target(facts: BoardFacts) -> Target:
    """What pip must know of a board. Raises DeviceError for an interpreter that wheels are not made for."""
    if facts.implementation != "cp":
        raise DeviceError(
            f"the board's Python is no CPython ({facts.implementation!r}): no runtime can be sent to it",
            "Name a CPython of the board with `python:` in devices.yaml.",
        )
    if not _LIBC_VERSION.fullmatch(facts.libc.version):
        raise DeviceError(
            f"the board's C library is not known: {facts.libc.name} {facts.libc.version}",
            "Install the runtimes into an interpreter on the board and name it with `python:`.",
        )
    return Target(
        python=".".join(facts.python.split(".")[:2]),
        machine=_SAME_WHEELS.get(facts.machine, facts.machine),
        libc=facts.libc.name,
        libc_version=facts.libc.version,
    )


def name_platforms(target: Target) -> list[str]:
    """The platform tags of wheels that run on a board, best first.

    `linux_*` comes last: PyPI refuses it, but indexes for one kind of board (Jetson, piwheels) use it.
    """
    major, minor = (int(part) for part in target.libc_version.split(".")[:2])
    if target.libc == "musl":
        tags = [f"musllinux_{major}_{step}" for step in range(minor, -1, -1)]
    else:
        oldest = _OLDEST_GLIBC_MINOR.get(target.machine, 17)
        tags = [tag for step in range(minor, oldest - 1, -1) for tag in _glibc_tags(major, step)]
    return [f"{tag}_{target.machine}" for tag in (*tags, "linux")]


def _glibc_tags(major: int, minor: int) -> Iterator[str]:
    yield f"manylinux_{major}_{minor}"
    if minor in _GLIBC_ALIASES:
        yield _GLIBC_ALIASES[minor]


def name_abis(python: str) -> list[str]:
    """The ABI tags that a CPython such as `3.11` loads; up to 3.7 its own carries an `m` (PEP 3149)."""
    major, minor = (int(part) for part in python.split("."))
    suffix = "m" if (major, minor) <= (3, 7) else ""
    return [f"cp{major}{minor}{suffix}", "abi3", "none"]


def install_packages(target: Target, requirements: Sequence[str], words: Sequence[str], tick: Tick) -> None:
    """Let pip install the newest of these packages that have wheels for a board; `words` say where and how.

    Raises NoWheel where there are none, DeviceError where the index cannot be reached.
    """
    last_words: deque[str] = deque(maxlen=200)
    if _run_pip([*_pip_words(target), *words, *requirements], last_words, tick) != 0:
        raise _explain_failure(target, "".join(last_words))


def _pip_words(target: Target) -> list[str]:
    choices = [("--platform", tag) for tag in name_platforms(target)]
    choices += [("--abi", tag) for tag in name_abis(target.python)]
    return [
        *("install", "--no-user", "--no-compile", "--progress-bar", "off"),
        *("--only-binary", ":all:", "--implementation", "cp", "--python-version", target.python),
        *(word for choice in choices for word in choice),
    ]


def _run_pip(words: Sequence[str], last_words: deque[str], tick: Tick) -> int:
    command = [sys.executable, "-P", "-m", "pip", *words]  # -P: no module of the current folder
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            for line in process.stdout or ():
                last_words.append(line)
                if line.startswith("Collecting "):
                    tick(0, line.split()[1])
            return process.wait()
        finally:
            process.kill()  # Ctrl-C must not leave pip behind; a process that has ended is not touched


def _explain_failure(target: Target, words: str) -> BenchError:
    """What to do about pip's last words: an index that is out of reach looks to pip like missing wheels."""
    missing = _NO_WHEEL.search(words)
    if missing is None or _OFFLINE.search(words):
        return DeviceError(
            f"the packages for {target} could not be fetched; pip says:\n{_end_of(words)}",
            "Check the network and pip's settings (`pip config list`); once fetched, they are cached.",
        )
    return NoWheel(missing[2], target, describe_wheels(_list_skipped(target, missing[1]), target))


def _end_of(words: str, limit: int = 1000) -> str:
    text = words.strip()
    return text if len(text) <= limit else f"…{text[-limit:]}"


def _list_skipped(target: Target, requirement: str) -> list[str]:
    """The tags of the wheels that pip has passed over, as it tells when asked for details."""
    said: deque[str] = deque(maxlen=20_000)
    with tempfile.TemporaryDirectory() as folder:
        words = [*_pip_words(target), "-vv", "--no-deps", "--dry-run", "--target", folder, requirement]
        with Silent().track("") as tick:
            _run_pip(words, said, tick)
    return [tag for line in said for found in _SKIPPED.findall(line) for tag in found.split(", ")]


def describe_wheels(tags: Iterable[str], target: Target) -> str:
    """For what there are wheels with these tags, told from where a board stands; "" where there are none."""
    family = "musllinux" if target.libc == "musl" else "manylinux"
    wheels = {wheel for tag in tags if (wheel := _read_tag(tag)) is not None}
    on_linux = {wheel for wheel in wheels if wheel.family in (family, "linux", "any")}
    on_machine = {wheel for wheel in on_linux if wheel.machine in (target.machine, "")}
    if not on_linux:
        return ""
    if not on_machine:
        return f"it has wheels for {', '.join(sorted({wheel.machine for wheel in on_linux}))}"
    pythons = {wheel.python for wheel in on_machine}
    own = tuple(int(part) for part in target.python.split("."))
    if own not in pythons:
        return f"there it has wheels for Python {_join_versions(pythons)}"
    least = min(wheel.libc for wheel in on_machine if wheel.python == own)
    return f"it needs {target.libc} {least[0]}.{least[1]} there" if least > (0, 0) else ""


class _Wheel(NamedTuple):
    """What the tag of a wheel asks for; machine is empty, and libc zero, where it does not matter."""

    python: tuple[int, ...]
    family: str
    libc: tuple[int, int]
    machine: str


def _read_tag(tag: str) -> _Wheel | None:
    found = _TAG.fullmatch(tag)
    if found is None:
        return None
    python = tuple(int(part) for part in (found["major"], found["minor"]) if part)
    if found["family"] is None:
        return _Wheel(python, "any", (0, 0), "")
    aliases = {alias: (2, minor) for minor, alias in _GLIBC_ALIASES.items()}
    version = (int(found["first"]), int(found["second"])) if found["first"] else (0, 0)
    family = found["family"]
    return _Wheel(python, family.rstrip("0123456789"), aliases.get(family, version), found["machine"])


def _join_versions(versions: Iterable[tuple[int, ...]]) -> str:
    """`3.9, 3.11 to 3.14`."""
    spans: list[list[tuple[int, ...]]] = []
    for version in sorted(versions):
        if spans and spans[-1][-1] == (*version[:-1], version[-1] - 1):
            spans[-1].append(version)
        else:
            spans.append([version])
    ends = [[".".join(map(str, one)) for one in (span[0], span[-1])] for span in spans]
    return ", ".join(first if first == last else f"{first} to {last}" for first, last in ends)
