"""The packages that runtimes need on a board, assembled on the host as one content-addressed archive.

pip picks wheels for the board's Python, architecture and libc; nothing is built, and the board itself
needs neither a network nor pip. The user's own pip settings (indexes, proxies, certificates) hold.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import tarfile
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from host.errors import DeviceError
from host.fleet.probing import BoardFacts
from host.fleet.requirements import name_requirements
from host.fleet.wheels import NoWheel, Target, describe_target, install_packages, name_device
from host.one_at_a_time import hold_alone
from host.progress import Progress
from host.specs.artifact import Blob
from host.specs.device import Device
from host.specs.profile import RuntimeSettings

LAYER_FORMAT = 1
"""Raised when the archive of the same packages changes."""

ALONE = ("ncnn",)
"""Packages that run without what they name as their dependencies: ncnn wants those for its model zoo."""

_ENTRY_POINTS = "bin"  # scripts whose first line names the host's interpreter
_LEFT_OUT_SUFFIXES = (".pyc", ".pyi", ".pth")

_hashing = threading.Lock()


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
                raise name_device(error, device.name) from error
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

    Of several boards of one kind, one has it assembled, and the others wait for it. Raises NoWheel where a
    package has no wheel for the board, DeviceError where the index cannot be reached.
    """
    target = describe_target(facts)
    folder = cache / "layers"
    key = _digest(target, requirements)
    cached = _find_cached(folder, key)
    if cached is not None:
        return cached
    with hold_alone(
        cache / "locks" / f"layer-{key}", lambda: progress.say(f"waiting for packages for {target}")
    ):
        cached = _find_cached(folder, key)
        if cached is not None:
            return cached
        folder.mkdir(parents=True, exist_ok=True)
        for damaged in folder.glob(f"{key}-*.tar.gz"):
            damaged.unlink()
        with tempfile.TemporaryDirectory(prefix=".assembling-", dir=folder) as name:
            packages = Path(name) / "packages"
            _install(target, requirements, packages, progress)
            part = Path(name) / "layer.part"
            sha256 = _pack(packages, part, progress)
            return _named_blob(part.rename(folder / f"{key}-{sha256}.tar.gz"), sha256)


def _digest(target: Target, requirements: Iterable[str]) -> str:
    value = [LAYER_FORMAT, sorted(requirements), target.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _find_cached(folder: Path, key: str) -> Blob | None:
    """A layer whose bytes still have the hash that its name says; a damaged one is not used."""
    for path in sorted(folder.glob(f"{key}-*.tar.gz")):
        actual = _hash_file(path)
        if path.name == f"{key}-{actual}.tar.gz":
            return _named_blob(path, actual)
    return None


def _hash_file(path: Path) -> str:
    """The SHA-256 of a file; that of one that has not changed is known to this process."""
    found = path.stat()
    with _hashing:  # boards of one kind ask for the same file at once
        return _hash_content(path, found.st_ino, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _hash_content(path: Path, _inode: int, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named_blob(path: Path, sha256: str) -> Blob:
    return Blob(path=path, sha256=sha256, size=path.stat().st_size)


def _install(target: Target, requirements: Iterable[str], folder: Path, progress: Progress) -> None:
    """Let pip put the newest packages that have wheels for the board into `folder`."""
    whole = [name for name in requirements if name not in ALONE]
    alone = [name for name in requirements if name in ALONE]
    with progress.track(f"packages for {target}") as tick:
        for names, words in ((whole, ()), (alone, ("--no-deps",))):
            if names:
                install_packages(target, names, ("--target", str(folder), *words), tick)


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
