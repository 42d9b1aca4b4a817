"""The power mode of a Jetson, from `nvpmodel -q`, with or without `--verbose`."""

import re
from typing import Any, Dict

from device_agent.sensors.terminal import strip_terminal

# With --verbose "NVPM VERB: Current mode: " stands before it; without root, lines of errors may follow it.
# A shell that echoes an unquoted `$(nvpmodel -q)` has the id in the same line.
_MODE = re.compile(r"NV Power Mode:[ \t]*([\w.+-]+)(?:[ \t]*\n|[ \t]+(?=[0-9]{1,3}[ \t]*$))", re.MULTILINE)
# The id is the first line after the name that holds only digits: without root, errors follow it (R32.6).
# It may be the very end of a text, since a shell's `$(…)` drops the last newline.
_MODE_ID = re.compile(r"^[ \t]*([0-9]{1,3})[ \t]*$", re.MULTILINE)
_FAN_MODE = re.compile(r"NV Fan Mode:[ \t]*([\w.+-]+)(?=[ \t\n])")  # no blank after the colon on R32


def parse(text: str) -> Dict[str, Any]:
    """`mode`, `mode_id` and `fan_mode`; None for what the text does not say, or not in full."""
    text = strip_terminal(text)
    mode, fan_mode = _MODE.search(text), _FAN_MODE.search(text)
    mode_id = _MODE_ID.search(text[mode.end() :]) if mode else None
    return {
        "mode": mode.group(1) if mode else None,
        "mode_id": int(mode_id.group(1)) if mode_id else None,
        "fan_mode": fan_mode.group(1) if fan_mode else None,
    }
