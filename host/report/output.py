"""Where a format is written: a stream that is open, or a file that appears only when it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from host.errors import UsageError


@contextmanager
def open_text(out: Path | TextIO) -> Iterator[TextIO]:
    """A text stream in UTF-8 that leaves line ends as they are written."""
    if not isinstance(out, Path):
        yield out
        return
    with _replacing(out) as part, part.open("w", encoding="utf-8", newline="") as stream:
        yield stream


@contextmanager
def open_binary(out: Path | BinaryIO) -> Iterator[BinaryIO]:
    """A stream of bytes."""
    if not isinstance(out, Path):
        yield out
        return
    with _replacing(out) as part, part.open("wb") as stream:
        yield stream


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A neighbour of a file that takes its place at the end, and is gone where writing it failed."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        hint = "Name a file in a folder that exists and can be written."
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint) from error
    finally:
        part.unlink(missing_ok=True)
