"""The file in which runs travel: a zip of JSON Lines, and a manifest with the size and the SHA-256 of each.

docs/store.md describes it for other programs. A file that comes from elsewhere is read within limits: no
member is ever held as a whole, and none is read beyond what the manifest says of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import Field, ValidationError

from host.errors import LedgerError
from host.specs.record import Record

FORMAT = "boardbench runs"
VERSION = 1
MANIFEST = "manifest.json"
SEAL = "manifest.sha256"
MEMBERS = ("runs.jsonl", "measurements.jsonl", "baselines.jsonl")

MOST_MANIFEST = 1 << 16
MOST_LINE = 1 << 28
"""Bytes. A measurement is one line; the longest come from boards that were measured for hours."""
MOST_EXPANSION = 200
"""How many times as long as its file all that it holds can be; runs that we exported stay far below."""
SMALL = 1 << 26
"""Bytes below which expansion does not matter."""
CHUNK = 1 << 20


class Member(Record):
    """What the manifest says of a member."""

    lines: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: str


class Manifest(Record):
    """What a file holds, and who wrote it when."""

    format: Literal["boardbench runs"]
    version: int
    boardbench: str
    written_at: datetime
    members: dict[str, Member]


class Writer:
    """A file that is being written; `close` ends it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED)
        self._members: dict[str, Member] = {}

    def write(self, name: str, lines: Iterable[bytes]) -> int:
        """Write a member; how many lines it has."""
        digest, count, size = hashlib.sha256(), 0, 0
        with self._zip.open(name, "w", force_zip64=True) as member:
            for line in lines:
                whole = line + b"\n"
                member.write(whole)
                digest.update(whole)
                count, size = count + 1, size + len(whole)
        self._members[name] = Member(lines=count, bytes=size, sha256=digest.hexdigest())
        return count

    def close(self) -> None:
        manifest = Manifest(
            format=FORMAT,
            version=VERSION,
            boardbench=version("boardbench"),
            written_at=datetime.now(UTC),
            members=self._members,
        )
        told = manifest.model_dump_json(indent=2).encode()
        self._zip.writestr(MANIFEST, told)
        self._zip.writestr(SEAL, hashlib.sha256(told).hexdigest())
        self._zip.close()


class Reader:
    """A file whose members were all found to be what its manifest says."""

    def __init__(self, file: Path, archive: zipfile.ZipFile, size: int) -> None:
        self._file = file
        self._zip = archive
        self._check_names()
        self.manifest = self._read_manifest()
        self._check_sizes(size)
        for name in MEMBERS:
            self._check_member(name)

    def lines(self, name: str) -> Iterator[tuple[int, bytes]]:
        """Every line of a member with its number, from 1."""
        with self._zip.open(name) as member:
            number = 0
            while line := member.readline(MOST_LINE + 1):
                number += 1
                if len(line) > MOST_LINE:
                    raise self.refuse(f"line {number} of {name} is longer than any measurement")
                yield number, line

    def refuse(self, reason: str) -> LedgerError:
        return refuse_file(self._file, reason)

    def _check_names(self) -> None:
        names = [info.filename for info in self._zip.infolist()[: len(MEMBERS) + 3]]
        if sorted(names) != sorted((*MEMBERS, MANIFEST, SEAL)):
            raise self.refuse("it is no export of runs, or parts of it are missing")

    def _read_manifest(self) -> Manifest:
        told = self._read_small(MANIFEST)
        if hashlib.sha256(told).hexdigest().encode() != self._read_small(SEAL).strip():
            raise self.refuse("its manifest was edited")
        found = _parse_object(told)
        if (
            found.get("format") == FORMAT
            and isinstance(newer := found.get("version"), int)
            and newer > VERSION
        ):
            raise LedgerError(
                f"{self._file} was written by a newer boardbench (format {newer}; this one reads {VERSION})",
                "Upgrade with `pip install --upgrade boardbench`.",
            )
        try:
            manifest = Manifest.model_validate(found)
        except ValidationError as error:
            raise self.refuse("its manifest is not valid") from error
        if manifest.members.keys() != set(MEMBERS):
            raise self.refuse("its manifest is not valid")
        return manifest

    def _check_sizes(self, size: int) -> None:
        total = sum(member.bytes for member in self.manifest.members.values())
        if total > max(SMALL, MOST_EXPANSION * size):
            raise self.refuse(f"it would become {total / size:.0f} times as long as it is")

    def _check_member(self, name: str) -> None:
        """Read a member to its end, but never beyond what the manifest says."""
        told, digest, size, lines = self.manifest.members[name], hashlib.sha256(), 0, 0
        with self._zip.open(name) as member:
            while size <= told.bytes and (chunk := member.read(CHUNK)):
                digest.update(chunk)
                size, lines = size + len(chunk), lines + chunk.count(b"\n")
        if (size, lines, digest.hexdigest()) != (told.bytes, told.lines, told.sha256):
            raise self.refuse(f"{name} is not what was exported: it was edited or damaged")

    def _read_small(self, name: str) -> bytes:
        with self._zip.open(name) as member:
            told = member.read(MOST_MANIFEST + 1)
        if len(told) > MOST_MANIFEST:
            raise self.refuse(f"its {name} is too long")
        return told


@contextmanager
def open_archive(file: Path) -> Iterator[Reader]:
    """The members of a file. Raises LedgerError where it is truncated, was edited or is something else."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, io.SEEK_END)
            with zipfile.ZipFile(stream) as archive:
                yield Reader(file, archive, size)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise refuse_file(file, f"it is no whole zip file ({error})") from error
    except (NotImplementedError, RuntimeError) as error:  # another compression; a password
        raise refuse_file(file, f"it is packed in a way that no export is ({error})") from error
    except OSError as error:
        raise LedgerError(f"{file} cannot be read: {error.strerror or error}", "Check its path.") from error


def refuse_file(file: Path, reason: str) -> LedgerError:
    return LedgerError(
        f"{file} cannot be imported: {reason}",
        "Nothing was imported. Copy it again from where it was exported, or export it again.",
    )


def _parse_object(told: bytes) -> dict[str, Any]:
    try:
        found = json.loads(told)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
