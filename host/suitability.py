"""Whether a board can run what it is asked to run, known before anything is built or sent to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from host.errors import Unsuitable
from host.fleet.boards import Board
from host.fleet.requirements import describe_lack, describe_unsuitable
from host.plan import Plan, Task


def split_suitable(
    plan: Plan, tasks: Sequence[Task], boards: Mapping[str, Board]
) -> tuple[dict[str, Board], dict[str, Unsuitable]]:
    """The boards that can run all that they must, and what the others lack, by their names."""
    errors: dict[str, Unsuitable] = {}
    for name, board in boards.items():
        try:
            check_suitability(plan, tasks, board)
        except Unsuitable as error:
            errors[name] = error
    return {name: board for name, board in boards.items() if name not in errors}, errors


def check_suitability(plan: Plan, tasks: Sequence[Task], board: Board) -> None:
    """Raise Unsuitable that names every runtime, provider or opset that the board lacks.

    Tasks with optional settings may be left out, but some task must remain.
    """
    misfits = find_misfits(plan, tasks, board)
    own = [task for task in tasks if task.device == board.device.name]
    lacks = [misfits[task.id] for task in own if task.id in misfits and not task.runtime.optional]
    if own and len(misfits) == len(own):
        lacks = list(misfits.values())
    if lacks:
        raise describe_unsuitable(board.device, dict.fromkeys(lacks))


def leave_out_optional(
    plan: Plan, tasks: Sequence[Task], boards: Iterable[Board]
) -> tuple[list[Task], list[str]]:
    """The tasks that these boards can run, and a sentence for each thing that one of them lacks."""
    misfits: dict[str, str] = {}
    said: dict[str, int] = {}
    for board in boards:
        found = find_misfits(plan, tasks, board)
        misfits |= found
        for misfit in found.values():
            sentence = f"{board.device.name}: {misfit}"
            said[sentence] = said.get(sentence, 0) + 1
    kept = [task for task in tasks if task.id not in misfits]
    return kept, [f"{sentence}; {_count(count)} left out" for sentence, count in said.items()]


def _count(tasks: int) -> str:
    return "1 measurement is" if tasks == 1 else f"{tasks} measurements are"


def find_crowded(tasks: Iterable[Task], boards: Mapping[str, Board]) -> list[str]:
    """A sentence for each board that is asked for more threads than it has cores."""
    most: dict[str, int] = {}
    for task in tasks:
        most[task.device] = max(most.get(task.device, 0), task.runtime.threads or 0)
    sentences = []
    for name, threads in most.items():
        cores = boards[name].facts.cores if name in boards else None
        if cores is not None and threads > cores:
            has = "1 core" if cores == 1 else f"{cores} cores"
            sentences.append(f"{name}: {threads} threads share {has} there; such rows tell no more than that")
    return sentences


def find_misfits(plan: Plan, tasks: Iterable[Task], board: Board) -> dict[str, str]:
    """Task id to what the board lacks to run it, for every task of the board that it cannot run."""
    opsets = {item.id: item.variant.export.opset for item in plan.variants}
    opsets |= {file.id: file.opset for file in plan.files}
    own = [task for task in tasks if task.device == board.device.name]
    return {
        task.id: misfit
        for task in own
        if (misfit := describe_misfit(task, opsets[task.variant_id], board)) is not None
    }


def describe_misfit(task: Task, opset: int, board: Board) -> str | None:
    """What the board lacks to run one task; None where it lacks nothing that we know of."""
    lack = describe_lack(task.runtime, board.facts)
    if lack is not None:
        return lack
    found = board.facts.runtimes[task.runtime.name]
    if found.max_opset is not None and opset > found.max_opset:
        return (
            f"{task.model} {task.label} needs opset {opset}, and its {task.runtime.name} {found.version} "
            f"reads up to {found.max_opset}: export it with opset {found.max_opset} or older"
        )
    return None
