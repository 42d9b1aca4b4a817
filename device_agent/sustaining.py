"""A sustained loop as the run sees it: one long answer of a worker, piece by piece."""

from typing import Any, Callable, Dict, List, Optional

from device_agent.firmware import add_throttled
from device_agent.supervision import WorkerProcess
from device_agent.watching import Watch

Fields = Dict[str, Any]


def ask_pieces(
    worker: WorkerProcess, timeout_s: float, watch: Watch, tell: Callable[[int, Fields], None]
) -> List[Fields]:
    """The pieces of a sustained loop, each with what was seen of the board while it was measured.

    `tell` gets the number of each when it is complete, and what is known of it. Raises TaskFailed where no
    piece comes within `timeout_s`, and Stopped.
    """
    pieces: List[Fields] = []

    def take(piece: Fields) -> None:
        piece["environment"]["during"] = watch.describe(*piece.pop("window"))
        pieces.append(piece)
        tell(len(pieces) - 1, {key: piece[key] for key in ("inferences", "seconds", "environment")})

    worker.ask({"do": "sustain"}, timeout_s, take)
    return pieces


def add_surroundings(
    pieces: List[Fields], rest: Fields, first_bits: Optional[int], last_bits: Optional[int]
) -> None:
    """Complete the pieces with how the loop began, and with the firmware's bits before and after it."""
    last = len(pieces) - 1
    for number, piece in enumerate(pieces):
        environment = piece["environment"]
        environment["rest"] = None if number else rest
        add_throttled(environment, None if number else first_bits, last_bits if number == last else None)
