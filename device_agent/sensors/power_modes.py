"""The modes that a Jetson's nvpmodel has, from /etc/nvpmodel.conf (R28 and later)."""

import re
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

_MODEL = re.compile(r"^[ \t]*<[ \t]*POWER_MODEL[ \t]+ID=([0-9]{1,3})[ \t]+NAME=([\w.+-]{1,64})[ \t]*>")
# TPC_POWER_GATING TPC_PG_MASK 240: which parts of the GPU have no power. Orin, R35 and later; also FBP, GPU.
_MASK = re.compile(r"^[ \t]*\w+[ \t]+(\w+_PG_MASK)[ \t]+(-?\w{1,20})[ \t]*$")
_FASTEST = ("MAXN_SUPER", "MAXN")


class PowerMode(NamedTuple):
    """A mode by its number and name; `masks` are the parts of the GPU that it leaves without power."""

    mode_id: int
    name: str
    masks: Tuple[Tuple[str, str], ...]


def parse_modes(text: str) -> List[PowerMode]:
    """The modes in the order of the file."""
    found: List[Tuple[int, str, Dict[str, str]]] = []
    for line in text.splitlines():
        model, mask = _MODEL.match(line), _MASK.match(line)
        if model:
            found.append((int(model.group(1)), model.group(2), {}))
        elif mask and found:
            found[-1][2][mask.group(1)] = mask.group(2)
    return [PowerMode(mode_id, name, tuple(sorted(masks.items()))) for mode_id, name, masks in found]


def find_fastest(modes: Sequence[PowerMode]) -> Optional[PowerMode]:
    """The mode without limits; None where none is called so (Xavier NX): by watts none can be told best."""
    for name in _FASTEST:
        for mode in modes:
            if mode.name == name:
                return mode
    return None


def find_mode(modes: Sequence[PowerMode], mode_id: Optional[int]) -> Optional[PowerMode]:
    return next((mode for mode in modes if mode.mode_id == mode_id), None)


def asks_for_restart(one: Optional[PowerMode], other: PowerMode) -> bool:
    """Whether parts of the GPU would be powered on or off between them: that happens at a start only."""
    return one is None or one.masks != other.masks
