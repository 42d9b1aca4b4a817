"""The packages that runtimes need on a board, assembled on the host as one content-addressed archive.

pip picks wheels for the board's Python, architecture and libc; nothing is built, and the board itself
needs neither a network nor pip. The user's own pip settings (indexes, proxies, certificates) hold.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from host.errors import BenchError, DeviceError
from host.fleet.probing import BoardFacts
from host.fleet.requirements import name_requirements
from host.progress import Progress, Tick
from host.specs.artifact import Blob
from host.specs.device import Device
from host.specs.profile import RuntimeSettings
from host.specs.record import Record

LAYER_FORMAT = 1
"""Raised when the archive of the same packages changes."""

ALONE = ("ncnn",)
"""Packages that run without what they name as their dependencies: ncnn wants those for its model zoo."""

_OFFLINE = re.compile(r"connection broken by|Failed to establish a new connection|name resolution|ProxyError")
_NO_WHEEL = re.compile(r"No matching distribution found for ([A-Za-z0-9][A-Za-z0-9._-]*)")
_LIBC_VERSION = re.compile(r"\d+\.\d+(\..*)?")
_ENTRY_POINTS = "bin"  # scripts whose first line names the host's interpreter
_LEFT_OUT_SUFFIXES = (".pyc", ".pyi", ".pth")
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
    """A package has no wheel for a board."""

    def __init__(self, package: str, target: Target) -> None:
        super().__init__(
            f"{package} has no wheel for {target}",
            "Use a board system with another Python or libc, or install the runtimes into an interpreter on "
            "the board and name it with `python:` in devices.yaml.",
        )
        self.package = package


def provide_layer(
    device: Device,
    facts: BoardFacts,
    runtimes: Sequence[RuntimeSettings],
    cache: Path,
    progress: Progress,
) -> Blob | None:
    """The layer that these runtimes need on a device; None where its own interpreter brings them all.

    `facts` are those of the board without a layer. A runtime that is optional and cannot be had is left
    out, and it is said why.
    """
    wanted = tuple(runtimes)
    while True:
        requirements = name_requirements(device, facts, wanted)
        if not requirements:
            return None
        try:
            return assemble_layer(facts, requirements, cache, progress)
        except DeviceError as error:
            rest = _without(error, wanted)
            if len(rest) == len(wanted):
                raise
            left_out = ", ".join(sorted({one.name for one in wanted} - {one.name for one in rest}))
            progress.say(f"{device.name} goes on without {left_out}: {error.message}")
            wanted = rest


def _without(error: DeviceError, wanted: Sequence[RuntimeSettings]) -> tuple[RuntimeSettings, ...]:
    """The runtimes without the optional one that has no wheel, or without all optional ones.

    All of them, where the error is about one that is not.
    """
    kept = {one.name for one in wanted if not one.optional}
    extra = {one.name for one in wanted} - kept
    if isinstance(error, NoWheel) and error.package in extra:
        extra = {error.package}
    elif isinstance(error, NoWheel) and error.package in kept:
        extra = set()
    return tuple(one for one in wanted if one.name not in extra)


def assemble_layer(facts: BoardFacts, requirements: Sequence[str], cache: Path, progress: Progress) -> Blob:
    """The layer of these packages for a board, from the cache where it is there, else from the package index.

    Raises NoWheel where a package has no wheel for the board, DeviceError where the index cannot be reached.
    """
    target = describe_target(facts)
    folder = cache / "layers"
    key = _digest(target, requirements)
    cached = _find_cached(folder, key)
    if cached is not None:
        return cached
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".assembling-", dir=folder) as name:
        packages = Path(name) / "packages"
        _install(target, requirements, packages, progress)
        part = Path(name) / "layer.part"
        sha256 = _pack(packages, part, progress)
        return _named_blob(part.rename(folder / f"{key}-{sha256}.tar.gz"), sha256)


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


def _digest(target: Target, requirements: Iterable[str]) -> str:
    value = [LAYER_FORMAT, sorted(requirements), target.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _find_cached(folder: Path, key: str) -> Blob | None:
    """A layer whose bytes still have the hash that its name says; a damaged one is not used."""
    for path in sorted(folder.glob(f"{key}-*.tar.gz")):
        actual = _hash_file(path)
        if path.name == f"{key}-{actual}.tar.gz":
            return _named_blob(path, actual)
        path.unlink()
    return None


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named_blob(path: Path, sha256: str) -> Blob:
    return Blob(path=path, sha256=sha256, size=path.stat().st_size)


def _install(target: Target, requirements: Iterable[str], folder: Path, progress: Progress) -> None:
    """Let pip put the newest packages that have wheels for the board into `folder`."""
    whole = [name for name in requirements if name not in ALONE]
    alone = [name for name in requirements if name in ALONE]
    with progress.track(f"packages for {target}") as tick:
        for words in (whole, ["--no-deps", *alone] if alone else []):
            last_words: deque[str] = deque(maxlen=200)
            if words and _run_pip([*_pip_words(target, folder), *words], last_words, tick) != 0:
                raise _explain_failure(target, "".join(last_words))


def _pip_words(target: Target, folder: Path) -> list[str]:
    choices = [("--platform", tag) for tag in name_platforms(target)]
    choices += [("--abi", tag) for tag in name_abis(target.python)]
    return [
        *("install", "--target", str(folder), "--no-user", "--no-compile", "--progress-bar", "off"),
        *("--only-binary", ":all:", "--implementation", "cp", "--python-version", target.python),
        *(word for choice in choices for word in choice),
    ]


def _run_pip(words: list[str], last_words: deque[str], tick: Tick) -> int:
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
    return NoWheel(missing[1], target)


def _end_of(words: str, limit: int = 1000) -> str:
    text = words.strip()
    return text if len(text) <= limit else f"…{text[-limit:]}"


def _pack(folder: Path, part: Path, progress: Progress) -> str:
    """Write the files below `folder` as a .tar.gz, the same for the same files; returns its SHA-256."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    kept = [name for name in files if _is_needed(name)]
    total = sum((folder / name).stat().st_size for name in kept)
    with (
        progress.track("packing the packages", total) as tick,
        part.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=4, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name in kept:
            with (folder / name).open("rb") as file:
                archive.addfile(_plain_member(name, file), file)
                tick(file.tell())
    return _hash_file(part)


def _is_needed(name: str) -> bool:
    """Whether a board runs it. RECORD lists what is left out, and the paths of the host's scripts."""
    parts = name.split("/")
    is_record = parts[0].endswith(".dist-info") and parts[-1] == "RECORD"
    return not (parts[0] == _ENTRY_POINTS or is_record or name.endswith(_LEFT_OUT_SUFFIXES))


def _plain_member(name: str, file: BinaryIO) -> tarfile.TarInfo:
    """A member without owner, time or mode of the host."""
    member = tarfile.TarInfo(name)
    member.size = file.seek(0, 2)
    file.seek(0)
    member.mode = 0o644
    return member
