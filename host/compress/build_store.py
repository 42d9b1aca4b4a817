"""Where builds are kept: finished stages named by what decides them, files named by their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from host.compress.origins import hash_file
from host.one_at_a_time import hold_alone
from host.specs.artifact import Blob


@dataclass(frozen=True)
class BuildStore:
    """The folder `builds` of a cache. A file that is there is whole: all are renamed into place."""

    root: Path

    def stage(self, kind: str, key: str, suffix: str) -> Path:
        """The file of one finished stage, such as the trained weights of a recipe."""
        return self.root / kind / f"{key}{suffix}"

    @property
    def blobs(self) -> Path:
        """Evaluation sets and reference outputs, which variants share."""
        return self.root / "blobs"

    def hold(self, on_wait: Callable[[], None]) -> AbstractContextManager[None]:
        """Keep other builds of this cache out; `on_wait` is called once if another one holds it."""
        return hold_alone(self.root / "lock", on_wait)


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def store_blob(folder: Path, data: bytes, suffix: str) -> Blob:
    """The bytes as a file named by their SHA-256; what is there already is not written again."""
    sha256 = hashlib.sha256(data).hexdigest()
    blob = Blob(path=folder / f"{sha256}{suffix}", sha256=sha256, size=len(data))
    if not holds_blob(blob):
        write_file(blob.path, data)
    return blob


def describe_blob(path: Path) -> Blob:
    """The blob that a file is."""
    return Blob(path=path, sha256=hash_file(path), size=path.stat().st_size)


def holds_blob(blob: Blob) -> bool:
    """Whether the file is there, with the size and the SHA-256 that it should have."""
    return (
        blob.path.is_file() and blob.path.stat().st_size == blob.size and hash_file(blob.path) == blob.sha256
    )
