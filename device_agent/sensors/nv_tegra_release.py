"""The release of a Jetson's system (L4T), from /etc/nv_tegra_release."""

import re
from typing import Any, Dict, Optional, Pattern

from device_agent.sensors.terminal import strip_terminal

# "# R36 (release), REVISION: 4.4, GCID: 41062509, BOARD: generic, EABI: aarch64, DATE: Mon Jun 16 …": what
# follows a value shows that it is whole. Since R36 lines about the kernel follow, before R32 check sums.
_RELEASE = re.compile(r"\bR([0-9]{1,3})[ \t]*\(")
# "5" for 32.5, "2.1" for 24.2.1; people put (JetPack 6.2.1) behind it.
_REVISION = re.compile(r"\bREVISION:[ \t]*([0-9]+(?:\.[0-9]+)*)[ \t]*[,\n(]")
_DATE = re.compile(r"\bDATE:[ \t]*([^\n\ufffd]{0,60}[ \t][12][0-9]{3})[ \t]*(?:\n|\Z)")
_WORD = r"\b{}:[ \t]*([\w.-]+)[ \t]*[,\n]"
_WORDS = {name: re.compile(_WORD.format(name.upper())) for name in ("gcid", "board", "eabi")}


def parse(text: str) -> Dict[str, Any]:
    """`l4t` ("36.4.4"), `release` and `revision`, `gcid`, `board`, `eabi` and `date` as they are written.

    `board` tells little: t186ref is a TX2 or a Xavier, and since R36 all of them are generic.
    """
    text = strip_terminal(text)
    release, revision = _find(_RELEASE, text), _find(_REVISION, text)
    found: Dict[str, Any] = {
        "l4t": "{}.{}".format(release, revision) if release and revision else None,
        "release": int(release) if release else None,
        "revision": revision,
    }
    found.update((name, _find(pattern, text)) for name, pattern in _WORDS.items())
    found["date"] = _find(_DATE, text)
    return found


def _find(pattern: Pattern[str], text: str) -> Optional[str]:
    match = pattern.search(text)
    return match.group(1) if match else None
