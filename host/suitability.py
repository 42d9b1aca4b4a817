"""Whether a board can run what it is asked to run, known before anything is built or sent to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from host.errors import ModelError
from host.fleet.boards import Board
from host.plan import Plan, Task


class Unsuitable(ModelError):
    """A board lacks what it is asked to run."""


def split_suitable(
    plan: Plan, tasks: Sequence[Task], boards: Mapping[str, Board]
) -> tuple[dict[str, Board], dict[str, Unsuitable]]:
    """The boards that can run all that they are asked to, and what the others lack, by their names."""
    errors: dict[str, Unsuitable] = {}
    for name, board in boards.items():
        try:
            check_suitability(plan, tasks, board)
        except Unsuitable as error:
            errors[name] = error
    return {name: board for name, board in boards.items() if name not in errors}, errors


def check_suitability(plan: Plan, tasks: Sequence[Task], board: Board) -> None:
    """Raise Unsuitable that names every runtime, provider or opset that the board lacks."""
    opsets = {item.id: item.variant.export.opset for item in plan.variants}
    opsets |= {file.id: file.opset for file in plan.files}
    own = [task for task in tasks if task.device == board.device.name]
    misfits = dict.fromkeys(
        misfit for task in own if (misfit := describe_misfit(task, opsets[task.variant_id], board))
    )
    if misfits:
        raise Unsuitable(
            f"{board.device.name} cannot run what it is asked to run:\n  " + "\n  ".join(misfits),
            f"`bench devices probe {board.device.name}` shows what it has.",
        )


def describe_misfit(task: Task, opset: int, board: Board) -> str | None:
    """What the board lacks to run one task; None where it lacks nothing that we know of."""
    found = board.facts.runtimes.get(task.runtime.name)
    if found is None:
        return f"{task.runtime.name} is not on the board"
    if task.runtime.provider not in found.providers:
        return f"{task.runtime.provider} is not in its {task.runtime.name}: {', '.join(found.providers)}"
    if found.max_opset is not None and opset > found.max_opset:
        return (
            f"{task.model} {task.label} needs opset {opset}, and its {task.runtime.name} {found.version} "
            f"reads up to {found.max_opset}: export it with opset {found.max_opset} or older"
        )
    return None
