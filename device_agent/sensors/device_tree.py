"""What a board calls itself, from /proc/device-tree/model or /proc/device-tree/compatible."""

import re
from typing import Any, Dict, List, Optional

from device_agent.sensors.terminal import LOST, strip_terminal

# Not all names tell the maker: quill, storm and lightning are a TX2, Jetson-AGX is an AGX Xavier (R32).
_VENDORS = (
    ("raspberrypi", re.compile(r"Raspberry Pi\b")),
    ("nvidia", re.compile(r"NVIDIA\b|[Jj]etson|Clara\b|(?:quill|storm|lightning)\b")),
)
_COMPATIBLE = re.compile(r"[a-z0-9-]+,[\w.+,-]+")
# R35 names tegra23x after tegra234, and posts drop the NULs between the names.
_SOC = re.compile(r",(tegra[0-9]{3}|bcm[0-9]{4})(?![0-9x])")


def parse(text: str) -> Dict[str, Any]:
    """`model` and `vendor` (raspberrypi, nvidia), or the `soc` (tegra264, bcm2712) of a list of compatible
    names; None for what is not certain.

    A model may differ from the module: an Orin Nano can say that it is an Orin NX Developer Kit.
    """
    lines = [line.strip(" \t") for line in strip_terminal(text).split("\n")]
    names = [line for line in lines if line and not _is_shell(line)]
    if any(_COMPATIBLE.match(name) for name in names):
        return {"soc": _find_soc(names)}
    model = names[0] if names else ""
    vendor = _find_vendor(model)
    # A model that nothing ends, neither NUL nor newline, may be the start of anything.
    is_told = bool(model) and _is_whole(model) and (vendor is not None or lines[-1] == "")
    return {"model": model if is_told else None, "vendor": vendor}


def _is_shell(line: str) -> bool:
    """The command before the answer, or its complaint."""
    return "device-tree" in line or line.startswith("cat:")


def _is_whole(model: str) -> bool:
    """Without the NUL that posts drop, the prompt of the shell (`user@board:~$`) is glued to the name."""
    return LOST not in model and "@" not in model and model.isprintable()


def _find_vendor(model: str) -> Optional[str]:
    for vendor, pattern in _VENDORS:
        if pattern.match(model):
            return vendor
    return None


def _find_soc(names: List[str]) -> Optional[str]:
    """The chip of a Jetson or a Raspberry Pi, whose names go from the board to the chip."""
    match = _SOC.search("\n".join(names))
    return match.group(1) if match else None
