"""What runs on the board, from /proc/<pid>: names, command lines and the time that each has computed."""

import re
from typing import Dict, List, NamedTuple, Sequence

from device_agent.sensors.tree import list_names, read_text

# proc(5): pid (comm) state ppid …, utime and stime are fields 14 and 15; a name may hold blanks and brackets.
_STAT = re.compile(r"^\d+ \((.*)\) \S(?: -?\d+){10} (\d+) (\d+)", re.DOTALL)

# Names as the kernel has them, of 15 characters at most.
DESKTOP = (
    "Xorg",
    "Xwayland",
    "gnome-shell",
    "gdm3",
    "gdm-x-session",
    "lightdm",
    "sddm",
    "lxdm",
    "wayfire",
    "labwc",
    "weston",
    "sway",
    "mutter",
    "kwin_x11",
    "kwin_wayland",
    "plasmashell",
    "xfwm4",
    "lxpanel",
    "wf-panel-pi",
)
INSTALLING = (
    "apt",
    "apt-get",
    "aptitude",
    "dpkg",
    "apt.systemd.dai",
    "unattended-upgr",
    "dnf",
    "yum",
    "pacman",
    "zypper",
    "apk",
    "needrestart",
    "update-initramf",
)
# Ubuntu keeps a process that is called like the one that upgrades, and only waits for the board's shutdown.
_WAITS_ONLY = "--wait-for-signal"


class Process(NamedTuple):
    """One process; `ticks` is how long it has computed (user and system)."""

    name: str
    ticks: int


def read_processes(root: str) -> Dict[int, Process]:
    """Every process by its number; one that ends meanwhile is left out."""
    found = {}
    for name in list_names(root, "proc"):
        match = _STAT.match(read_text(root, "proc/{}/stat".format(name)) or "") if name.isdigit() else None
        if match:
            found[int(name)] = Process(match.group(1), int(match.group(2)) + int(match.group(3)))
    return found


def pick_names(processes: Dict[int, Process], names: Sequence[str]) -> List[str]:
    """Those of the names that run."""
    running = {process.name for process in processes.values()}
    return [name for name in names if name in running]


def find_installing(root: str, processes: Dict[int, Process]) -> List[str]:
    """Package managers that are at work."""
    at_work = {
        pid: process
        for pid, process in processes.items()
        if process.name in INSTALLING
        and _WAITS_ONLY not in (read_text(root, "proc/{}/cmdline".format(pid)) or "")
    }
    return pick_names(at_work, INSTALLING)


def find_busiest(
    before: Dict[int, Process], after: Dict[int, Process], ticks_per_core: float, count: int
) -> List[Dict[str, object]]:
    """The processes that computed most in between, in cores; none that did not compute."""
    spent = {
        pid: process.ticks - before[pid].ticks
        for pid, process in after.items()
        if pid in before and before[pid].name == process.name and process.ticks > before[pid].ticks
    }
    most = sorted(spent, key=lambda pid: (-spent[pid], pid))[:count]
    return [{"name": after[pid].name, "cores": round(spent[pid] / ticks_per_core, 3)} for pid in most]
