"""What one thing is that `doctor --fix` may change on a board, and where."""

from typing import Any, Callable, List, NamedTuple, Optional

from device_agent.sensors.power_modes import PowerMode, parse_modes
from device_agent.sensors.tree import read_text
from device_agent.work_folder import WorkFolder


class Place:
    """A board: its work folder, and the folder that holds its proc, sys and etc."""

    def __init__(self, folder: WorkFolder, root: str) -> None:
        self.folder = folder
        self.root = root

    def modes(self) -> List[PowerMode]:
        return parse_modes(read_text(self.root, "etc/nvpmodel.conf") or "")

    def boot(self) -> Optional[str]:
        """Names this start of the board."""
        return read_text(self.root, "proc/sys/kernel/random/boot_id")


class Step(NamedTuple):
    """One thing that can be changed, and changed back.

    `prepare` gives what `undo` has to know. That comes back from a file on the board, where anybody may have
    written it: `is_valid` lets through numbers, names and digests, never a command or a path. A restart of
    the board undoes the step by itself unless `survives_restart`. All functions raise as_root.Refused where
    the board does not let us, or does not do it.
    """

    kind: str
    wanted: str
    survives_restart: bool
    is_here: Callable[[Place], bool]
    is_done: Callable[[Place], bool]
    prepare: Callable[[Place], Any]
    apply: Callable[[Place], None]
    undo: Callable[[Place, Any], None]
    is_valid: Callable[[Any], bool]
    describe: Callable[[Any], str]
