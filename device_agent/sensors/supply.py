"""Whether a board gets the power that it asks for, from /sys/class/hwmon."""

import re
from typing import Optional

from device_agent.sensors.tree import list_names, read_number, read_text

_HWMON = "sys/class/hwmon"
_EVENTS = re.compile(r"^oc\d{1,2}_event_cnt$")


def read_voltage_alarm(root: str) -> Optional[bool]:
    """Whether a Raspberry Pi gets too little voltage now (rpi_volt, kernel 4.18 and later)."""
    folder = _find(root, "rpi_volt")
    alarm = None if folder is None else read_number(root, folder + "/in0_lcrit_alarm")
    return None if alarm is None else alarm != 0


def read_overcurrent_events(root: str) -> Optional[int]:
    """How often a Jetson slowed down since its start since it drew too much current (Orin, R35 and later)."""
    folder = _find(root, "soctherm_oc")
    if folder is None:
        return None
    counts = [
        read_number(root, "{}/{}".format(folder, name))
        for name in list_names(root, folder)
        if _EVENTS.match(name)
    ]
    told = [count for count in counts if count is not None]
    return sum(told) if told else None


def _find(root: str, name: str) -> Optional[str]:
    for device in list_names(root, _HWMON):
        folder = "{}/{}".format(_HWMON, device)
        if read_text(root, folder + "/name") == name:
            return folder
    return None
