"""When things happened, by the host's clock: a board's own may be wrong by years, or be set while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from host.fleet.journal import YEAR_9999, Event, RunStarted, Text

AGREE_S = 30.0
"""A board's clock that is off by less is believed: the network sets it, and answers take their time."""


class ToldClock(BaseModel):
    """What a board's clocks say: seconds since the epoch, seconds of the monotonic clock, and its boot."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    wall: float = Field(ge=0, lt=YEAR_9999)
    mono: float = Field(ge=0, lt=10**12)
    boot: Text | None = None


def read_clock(answer: dict[str, Any]) -> ToldClock | None:
    """The clocks in an agent's answer; None where it does not tell them."""
    try:
        return ToldClock.model_validate(answer.get("clock"))
    except ValidationError:
        return None


@dataclass
class BoardClock:
    """Puts a board's events where they belong on the host's clock.

    Within one boot the monotonic clock tells how long ago something was, whatever was done to the other one.
    Of an earlier boot it tells nothing: then the other clock is taken, as far off as it is now.
    """

    host_s: float
    told: ToldClock
    _boot: str | None = None  # of the start of the run that is being told

    def renew(self, host_s: float, told: ToldClock) -> None:
        """What the clocks say after the board was lost: it may have been started anew."""
        self.host_s, self.told = host_s, told

    def place(self, event: Event) -> Event:
        """The event with its time by the host's clock; a time that agrees with that anyway stays."""
        if isinstance(event, RunStarted):
            self._boot = event.boot
        placed_s = self._place(event.wall, event.mono)
        if abs(placed_s - event.wall) <= AGREE_S:
            return event
        return event.model_copy(update={"wall": min(max(placed_s, 0.0), YEAR_9999 - 1)})

    def _place(self, wall: float, mono: float) -> float:
        if self._boot is not None and self._boot == self.told.boot:
            return self.host_s - (self.told.mono - mono)
        shifted = wall + self.host_s - self.told.wall
        # Nothing that is told has yet to happen: then the clock was another one before the boot.
        return shifted if shifted <= self.host_s + AGREE_S else min(wall, self.host_s)
