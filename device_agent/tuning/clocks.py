"""All clocks of a Jetson at their highest, by its own jetson_clocks, which also stores and restores them."""

import contextlib
import hashlib
import os
import re
from typing import Any, Optional

from device_agent.as_root import Refused, last_line, run_as_root
from device_agent.asking import find_command
from device_agent.sensors import jetson_clocks
from device_agent.tuning.step import Place, Step
from device_agent.work_folder import make_folder

_TIMEOUT_S = 60.0
_MAX_STORED_BYTES = 1 << 18
# jetson_clocks stores lines `path:value`, and as root writes the values into the paths when it restores.
_STORED = re.compile(r"^(/[\w./:@,+-]{1,300}):([\w .,@+-]{0,200})\Z")
_DIGEST = re.compile(r"^[0-9a-f]{64}\Z")


def _is_here(_: Place) -> bool:
    return find_command("jetson_clocks") is not None


def _is_done(_: Place) -> bool:
    return _read() is True


def _read() -> Optional[bool]:
    """Whether all clocks are held; None where jetson_clocks does not say so."""
    ran = run_as_root("jetson_clocks", ["--show"], "", _TIMEOUT_S)
    pinned: Optional[bool] = jetson_clocks.parse(ran.said + "\n")["pinned"]
    return pinned


def _prepare(place: Place) -> Any:
    """The digest of what jetson_clocks has stored of the clocks as they are now."""
    path = find_stored(place)
    make_folder(place.folder.root)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # it would ask whether to write over it
    ran = run_as_root("jetson_clocks", ["--store", path], "", _TIMEOUT_S)
    if not os.path.exists(path):
        raise Refused("jetson_clocks does not store the clocks: {}".format(last_line(ran.said)))
    with contextlib.suppress(PermissionError):  # root's, where sudo has written it
        os.chmod(path, 0o600)
    return hashlib.sha256(_load(place)).hexdigest()


def _apply(_: Place) -> None:
    ran = run_as_root("jetson_clocks", [], "", _TIMEOUT_S)
    if _read() is False:
        raise Refused("jetson_clocks does not hold the clocks: {}".format(last_line(ran.said)))


def _undo(place: Place, before: Any) -> None:
    if hashlib.sha256(_load(place)).hexdigest() != before:
        raise Refused("{} is not what jetson_clocks stored".format(find_stored(place)))
    ran = run_as_root("jetson_clocks", ["--restore", find_stored(place)], "", _TIMEOUT_S)
    if _read() is True:
        raise Refused("jetson_clocks still holds the clocks: {}".format(last_line(ran.said)))


def find_stored(place: Place) -> str:
    """Where the clocks are stored while they are held."""
    return os.path.join(place.folder.root, "clocks.conf")


def _load(place: Place) -> bytes:
    try:
        with open(find_stored(place), "rb") as file:
            content = file.read(_MAX_STORED_BYTES)
    except OSError as error:
        raise Refused("{}: {}".format(find_stored(place), error.strerror)) from error
    check_stored(content.decode("utf-8", "replace"), place.root)
    return content


def check_stored(text: str, root: str) -> None:
    """Raise Refused for a line of what jetson_clocks stored that is no value of a file below /sys.

    The digest beside it proves nothing: who can write the one can write the other.
    """
    below = os.path.join(root, "sys") + "/"
    for line in text.splitlines():
        match = _STORED.match(line)
        if not match or ".." in match.group(1) or not match.group(1).startswith(below):
            raise Refused("the stored clocks have a line that is no clock: {!r}".format(line[:80]))


def _is_valid(before: Any) -> bool:
    return isinstance(before, str) and bool(_DIGEST.match(before))


def _describe(_: Any) -> str:
    return "moving with the load"


CLOCKS = Step(
    "clocks",
    "held by jetson_clocks",
    False,
    _is_here,
    _is_done,
    _prepare,
    _apply,
    _undo,
    _is_valid,
    _describe,
)
