"""Power of a Jetson by `tegrastats`, where the sensors themselves cannot be read."""

import os
import shutil
from typing import Any, List, Optional, Sequence, Tuple

from device_agent.line_source import LineSource, start_command
from device_agent.sensors.ina import find_total, sum_rails
from device_agent.sensors.tegrastats import parse_line

INTERVAL_MS = 100
"""Every line of it costs the reading of some hundred files, so it is not asked for more."""

# Up to L4T 28 it is no command on the path but a file in the home folder of the first user.
_OLD_PLACES = ("/home/nvidia/tegrastats", "/home/ubuntu/tegrastats")


def find_tegrastats() -> Optional[str]:
    """The program, None where there is none."""
    return shutil.which("tegrastats") or next((path for path in _OLD_PLACES if os.path.isfile(path)), None)


class TegrastatsLines:
    """The watts of each line: the sum of the rails that make up the total of the first whole line.

    Which they are stays as it was chosen, so that a line that lacks one has no value: never another sum.
    """

    def __init__(self, total: Optional[Sequence[str]] = None) -> None:
        self.total: Tuple[str, ...] = tuple(total or ())

    def parse(self, line: str) -> Optional[Tuple[Optional[float], Optional[float]]]:
        rails = parse_line(line + "\n")["rails"]
        # The current value: the average beside it is the mean since tegrastats began.
        milliwatts = {name: rail["cur_mw"] for name, rail in rails.items()}
        if not self.total:
            self.total = find_total(list(milliwatts)) or ()
        if not self.total:
            return None
        summed = sum_rails(milliwatts, self.total)
        return None, None if summed is None else summed / 1e3


def open_tegrastats(program: str, total: Optional[List[str]]) -> Tuple[LineSource, TegrastatsLines]:
    """Its lines, and what chooses the rails. Raises SourceFailed."""
    lines = TegrastatsLines(total)
    link: Any = start_command([program, "--interval", str(INTERVAL_MS)])
    return LineSource(link, lines.parse), lines
