"""nvpmodel in the mode without limits, unless that asks for a restart of the board."""

from typing import Any, Optional

from device_agent.as_root import Refused, last_line, run_as_root
from device_agent.jetson import describe_mode
from device_agent.sensors.power_modes import asks_for_restart, find_fastest, find_mode
from device_agent.tuning.step import Place, Step

_MAX_MODE = 255
_TIMEOUT_S = 60.0  # taking cores on and off takes seconds


def _is_here(place: Place) -> bool:
    return find_fastest(place.modes()) is not None and _read(place) is not None


def _read(place: Place) -> Optional[int]:
    told = describe_mode(place.root)
    return None if told is None else told["mode_id"]


def _is_done(place: Place) -> bool:
    fastest = find_fastest(place.modes())
    return fastest is not None and _read(place) == fastest.mode_id


def _prepare(place: Place) -> Any:
    mode_id, fastest = _read(place), find_fastest(place.modes())
    if mode_id is None or fastest is None:
        raise Refused("nvpmodel does not tell the number of its mode")
    if asks_for_restart(find_mode(place.modes(), mode_id), fastest):
        message = "{} is reached by a restart of the board only: sudo nvpmodel -m {}"
        raise Refused(message.format(fastest.name, fastest.mode_id))
    return mode_id


def _apply(place: Place) -> None:
    fastest = find_fastest(place.modes())
    if fastest is not None:
        _set(place, fastest.mode_id)


def _undo(place: Place, before: Any) -> None:
    if _read(place) != before:
        _set(place, before)


def _set(place: Place, mode_id: int) -> None:
    """A mode that asks for a restart is told no, and then stays what it was. The exit code of nvpmodel does
    not tell (R35, R36)."""
    ran = run_as_root("nvpmodel", ["-m", str(mode_id)], "no\n", _TIMEOUT_S)
    if _read(place) == mode_id:
        return
    if "reboot" in ran.said.lower():
        raise Refused("mode {0} asks for a restart of the board: sudo nvpmodel -m {0}".format(mode_id))
    raise Refused("nvpmodel stays in its mode: {}".format(last_line(ran.said)))


def _is_valid(before: Any) -> bool:
    return type(before) is int and 0 <= before <= _MAX_MODE


def _describe(before: Any) -> str:
    return "mode {}".format(before)


POWER_MODE = Step(
    "power-mode", "MAXN", True, _is_here, _is_done, _prepare, _apply, _undo, _is_valid, _describe
)
