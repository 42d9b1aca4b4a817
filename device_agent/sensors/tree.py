"""Text and names below a root: `/` on a board, a folder of recorded files in a test."""

import os
from typing import List, Optional, cast

_MAX_BYTES = 1 << 20


def read_text(root: str, path: str) -> Optional[str]:
    """What a file of /proc or /sys says, stripped; None where it is missing, unreadable or broken.

    Sensors answer EIO, ENODATA or EINVAL while their device sleeps, so every refusal is a missing value.
    """
    try:
        with open(os.path.join(root, path.lstrip("/")), "rb") as file:
            # Python says None for EAGAIN: so does gpu-thermal on Thor (R38) while the GPU is off.
            data = cast("Optional[bytes]", file.read(_MAX_BYTES))
    except OSError:
        return None
    return None if data is None else data.decode("utf-8", "replace").strip("\0 \t\r\n")


def read_number(root: str, path: str) -> Optional[int]:
    """The whole number in a file, or None."""
    text = read_text(root, path)
    try:
        return None if text is None else int(text, 0)
    except ValueError:
        return None


def list_names(root: str, path: str) -> List[str]:
    """The sorted names in a folder; empty where there is none."""
    try:
        return sorted(os.listdir(os.path.join(root, path.lstrip("/"))))
    except OSError:
        return []
