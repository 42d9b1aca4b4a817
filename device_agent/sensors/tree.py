"""Text and names below a root: `/` on a board, a folder of recorded files in a test."""

import os
import re
import time
from typing import Iterator, List, Optional, cast

_MAX_BYTES = 1 << 20
_MAX_LINES = 1 << 20
_MAX_LINE_BYTES = 1 << 16
# What the kernel prints, not all that Python reads: 1_000 is no number of any file of /sys.
_NUMBER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})\Z")
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?\Z")

PATIENT_READS = 3
PATIENT_WAIT_S = 0.002


def read_text(root: str, path: str) -> Optional[str]:
    """What a file of /proc or /sys says, stripped; None where it is missing, unreadable or broken.

    Sensors answer EIO, ENODATA or EINVAL while their device sleeps, so every refusal is a missing value.
    """
    try:
        data = _read(root, path)
    except OSError:
        return None
    return None if data is None else _decode(data)


def read_patiently(root: str, path: str) -> Optional[str]:
    """Like `read_text`, but a sensor that says `try again` (EAGAIN) is asked three times within some ms.

    On Thor (R38) thermal zones say so now and then, and gpu-thermal always while the GPU is off.
    """
    for attempt in range(PATIENT_READS):
        if attempt:
            time.sleep(PATIENT_WAIT_S)
        try:
            data = _read(root, path)
        except OSError:
            return None
        if data is not None:
            return _decode(data)
    return None


def _read(root: str, path: str) -> Optional[bytes]:
    """The content; None for EAGAIN, which is what Python says instead of raising an error."""
    with open(os.path.join(root, path.lstrip("/")), "rb") as file:
        return cast("Optional[bytes]", file.read(_MAX_BYTES))


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip("\0 \t\r\n")


def read_number(root: str, path: str) -> Optional[int]:
    """The whole number in a file, or None."""
    return parse_number(read_text(root, path))


def parse_number(text: Optional[str]) -> Optional[int]:
    """A whole number as the kernel prints it, decimal or hexadecimal; None for anything else."""
    if text is None or not _NUMBER.match(text):
        return None
    try:
        return int(text, 0)
    except ValueError:  # leading zeros
        return None


def parse_core_list(text: Optional[str]) -> List[int]:
    """The numbers in `0-3,8`, or in `0 1 2` as cpufreq writes it; none where any part is garbled."""
    found: List[int] = []
    for part in (text or "").replace(",", " ").split():
        match = _RANGE.match(part)
        if match is None:
            return []
        start, end = int(match.group(1)), int(match.group(2) or match.group(1))
        if end < start:
            return []
        found += range(start, end + 1)
    return sorted(set(found))


def read_lines(root: str, path: str) -> Iterator[str]:
    """The lines of a file that may be larger than what /proc and /sys hold; none where it cannot be read."""
    try:
        with open(os.path.join(root, path.lstrip("/")), "rb") as file:
            for _ in range(_MAX_LINES):
                line = file.readline(_MAX_LINE_BYTES)
                if not line:
                    return
                yield line.decode("utf-8", "replace").rstrip("\r\n")
    except OSError:
        return


def list_names(root: str, path: str) -> List[str]:
    """The sorted names in a folder; empty where there is none."""
    try:
        return sorted(os.listdir(os.path.join(root, path.lstrip("/"))))
    except OSError:
        return []
