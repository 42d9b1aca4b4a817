"""One thing that was looked at on a board, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from host.fleet.conditions import Conditions, Seen
from host.fleet.probing import BoardFacts
from host.specs.device import Device
from host.specs.record import Record


class BoardFinding(Record):
    """One check of one board. `is_fine` is None where the board cannot tell.

    `command` mends it, on the board unless it begins with `bench`; `can_fix` says that `--fix` does.
    """

    device: str
    check: str
    is_fine: bool | None
    found: str
    advice: str | None = None
    command: str | None = None
    can_fix: bool = False


@dataclass(frozen=True)
class Look:
    """All that a board says of itself and of this moment."""

    device: Device
    facts: BoardFacts
    seen: Seen

    @property
    def now(self) -> Conditions:
        return self.seen.conditions

    def fine(self, check: str, found: str, advice: str | None = None) -> BoardFinding:
        return BoardFinding(device=self.device.name, check=check, is_fine=True, found=found, advice=advice)

    def unknown(
        self, check: str, found: str, advice: str | None = None, command: str | None = None
    ) -> BoardFinding:
        return BoardFinding(
            device=self.device.name, check=check, is_fine=None, found=found, advice=advice, command=command
        )

    def wrong(
        self, check: str, found: str, advice: str, command: str | None = None, *, can_fix: bool = False
    ) -> BoardFinding:
        return BoardFinding(
            device=self.device.name,
            check=check,
            is_fine=False,
            found=found,
            advice=advice,
            command=command,
            can_fix=can_fix,
        )
