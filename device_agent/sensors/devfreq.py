"""The clock of a Jetson's GPU, from /sys/class/devfreq: anybody may read it."""

import re
from typing import NamedTuple, Optional

from device_agent.sensors.tree import list_names, read_number

_FOLDER = "sys/class/devfreq"
# 57000000.gpu (Nano, TX1), 17000000.gp10b (TX2), .gv11b (Xavier), .ga10b (Orin, R35), .gpu (Orin, R36); on
# Thor (R38) gpu-gpc-0 computes, and gpu-nvd-0 beside it decodes video.
_GPU = re.compile(r"^(?:[0-9a-f]{1,16}\.(?:gpu|gp10b|gv11b|ga10b)|gpu-gpc-0)$")
_ABSURD_HZ = 20000000000


class GpuClock(NamedTuple):
    """In MHz; `allowed_…` are the limits that nvpmodel and jetson_clocks set."""

    allowed_min_mhz: Optional[float]
    allowed_max_mhz: Optional[float]
    current_mhz: Optional[float]


def read_gpu_clock(root: str) -> Optional[GpuClock]:
    """None on a board without such a GPU."""
    for name in list_names(root, _FOLDER):
        if _GPU.match(name):
            folder = "{}/{}".format(_FOLDER, name)
            return GpuClock(*(_read_mhz(root, folder, kind) for kind in ("min_freq", "max_freq", "cur_freq")))
    return None


def _read_mhz(root: str, folder: str, name: str) -> Optional[float]:
    """A GPU whose power is off may say 0."""
    hertz = read_number(root, "{}/{}".format(folder, name))
    return hertz / 1e6 if hertz is not None and 0 < hertz < _ABSURD_HZ else None
