"""The governor `performance` on every core. Cores that are clocked together have one between them."""

import os
import re
from typing import Any, Dict, Set

from device_agent.as_root import Refused, write_as_root
from device_agent.sensors.processor import read_cores
from device_agent.sensors.tree import read_text
from device_agent.tuning.step import Place, Step

PERFORMANCE = "performance"

_NAME = re.compile(r"^[a-z][a-z_-]{0,31}\Z")
_CORE = re.compile(r"^[0-9]{1,5}\Z")
_FILE = "sys/devices/system/cpu/cpu{}/cpufreq/{}"


def read_governors(root: str) -> Dict[str, str]:
    """The governor by the first core of those that are clocked together; empty where there is no cpufreq."""
    found: Dict[str, str] = {}
    seen: Set[int] = set()
    for core in read_cores(root):
        if core.clock.governor is not None and core.number not in seen:
            seen.update(core.clock.together)
            found[str(core.number)] = core.clock.governor
    return found


def _is_here(place: Place) -> bool:
    return bool(read_governors(place.root))


def _is_done(place: Place) -> bool:
    return set(read_governors(place.root).values()) == {PERFORMANCE}


def _prepare(place: Place) -> Any:
    found = read_governors(place.root)
    for core in found:
        _check_offered(place, core, PERFORMANCE)
    return found


def _apply(place: Place) -> None:
    for core, governor in read_governors(place.root).items():
        if governor != PERFORMANCE:
            write_as_root(_find_file(place, core), PERFORMANCE)


def _undo(place: Place, before: Any) -> None:
    """Cores that are offline now have no governor; when they return, they get that of their cluster."""
    now = read_governors(place.root)
    for core, governor in before.items():
        if core in now and now[core] != governor:
            _check_offered(place, core, governor)
            write_as_root(_find_file(place, core), governor)
    now = read_governors(place.root)
    for core, governor in before.items():
        if core in now and now[core] != governor:
            raise Refused("core {} keeps the governor {}".format(core, now[core]))


def _check_offered(place: Place, core: str, governor: str) -> None:
    offered = (read_text(place.root, _FILE.format(core, "scaling_available_governors")) or "").split()
    if governor not in offered:
        message = "core {} offers no governor {}: {}"
        raise Refused(message.format(core, governor, ", ".join(offered) or "it tells none"))


def _find_file(place: Place, core: str) -> str:
    return os.path.join(place.root, _FILE.format(core, "scaling_governor"))


def _is_valid(before: Any) -> bool:
    return (
        isinstance(before, dict)
        and bool(before)
        and all(isinstance(core, str) and _CORE.match(core) for core in before)
        and all(isinstance(name, str) and _NAME.match(name) for name in before.values())
    )


def _describe(before: Any) -> str:
    return ", ".join(sorted(set(before.values())))


GOVERNOR = Step(
    "governor", PERFORMANCE, False, _is_here, _is_done, _prepare, _apply, _undo, _is_valid, _describe
)
