"""Logs that do not fill the disk: a runtime that prints at each inference writes gigabytes in a day."""

import os
from typing import BinaryIO

MOST_BYTES = 256 << 10
_KEPT_BYTES = 16 << 10


def open_log(path: str) -> BinaryIO:
    """An empty log, open for appending: whoever holds it writes on at its end after it was cut."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def bound_log(path: str) -> None:
    """Keep only the end of a log that has become too long."""
    try:
        size = os.stat(path).st_size
    except FileNotFoundError:
        return
    if size <= MOST_BYTES:
        return
    with open(path, "rb") as file:
        file.seek(size - _KEPT_BYTES)
        tail = file.read(_KEPT_BYTES)
    os.truncate(path, 0)
    with open(path, "ab") as file:
        file.write("({} bytes stood here)\n".format(size - len(tail)).encode() + tail.partition(b"\n")[2])
