"""Devices get everything that a sweep would need, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from host.converting import find_unconvertible, keep_convertible
from host.crew import Crew, Ended, Say
from host.errands import Errand, plan_errands
from host.errors import BenchError
from host.fitness import find_unfit
from host.fleet.boards import Board, choose_devices
from host.fleet.deploying import Deployment
from host.fleet.registry import load_devices
from host.measuring import send_errand
from host.plan import Plan, Task, runtimes_of
from host.preparing import build_artifacts, plan_profile, ready_boards
from host.progress import Progress
from host.specs.profile import Limits, Profile, RuntimeSettings
from host.specs.record import Record
from host.suitability import leave_out_optional, split_suitable
from host.workspace import Workspace


class Deployed(Record):
    """What one device got, and what that cost: bytes on the link, files, seconds."""

    device: str
    board: str
    bytes_sent: int
    files_sent: int
    seconds: float


def deploy_to_devices(
    device_names: Sequence[str],
    profile: Profile | None,
    workspace: Workspace,
    progress: Progress,
    labels: Sequence[str] = (),
    jobs: int = 1,
    parallel: int | None = None,
) -> tuple[list[Deployed], Mapping[str, BenchError]]:
    """Ready the devices, and send the variants of a profile too, all or those with these labels.

    Variants that a sweep would not measure, since they are not accurate enough, are not sent. The errors are
    those of devices that could not be used, or lack what the profile asks for; where no device could, the
    first is raised.
    """
    choices = profile.devices if profile else ()
    chosen = choose_devices(choices, device_names, load_devices(workspace))
    if profile is None:
        boards, errors = ready_boards(chosen, lambda _: (RuntimeSettings(),), workspace, progress, parallel)
        return [_describe(board, board.deployment) for board in boards.values()], errors
    plan = plan_profile(profile, [device.name for device in chosen], workspace, labels)
    servable = keep_convertible(plan.tasks, progress)
    ready, errors = ready_boards(chosen, partial(runtimes_of, servable), workspace, progress, parallel)
    boards, misfits = split_suitable(plan, servable, ready)
    if not boards:
        raise next(iter({**errors, **misfits}.values()))
    tasks = [task for task in leave_out_optional(plan, servable, boards.values())[0] if task.device in boards]
    errands = _plan_sending(plan, tasks, profile.limits, boards, workspace, progress, jobs)
    sent, lost = _send_all(boards, errands, progress, parallel)
    if not sent:
        raise next(iter(lost.values()))
    return sent, {**errors, **misfits, **lost}


def _plan_sending(
    plan: Plan,
    tasks: Sequence[Task],
    limits: Limits,
    boards: Mapping[str, Board],
    workspace: Workspace,
    progress: Progress,
    jobs: int,
) -> dict[str, Errand]:
    """Device name to all that a sweep would send it."""
    artifacts = build_artifacts(plan, tasks, workspace, progress, jobs)
    unfit = find_unfit(tasks, artifacts, limits)
    fit = [task for task in tasks if task.variant_id not in unfit]
    errors = find_unconvertible(plan, fit, artifacts, workspace.cache)
    sent = [task for task in fit if task.id not in errors]
    planned = plan_errands("deploy", plan, sent, [*boards.values()], artifacts, workspace.cache)
    return {errand.board.device.name: errand for errand in planned}


def _send_all(
    boards: Mapping[str, Board], errands: Mapping[str, Errand], progress: Progress, parallel: int | None
) -> tuple[list[Deployed], dict[str, BenchError]]:
    """Send what is missing to all boards at once; what each got, and why others did not get it."""

    def send(name: str, _say: Say) -> Deployed:
        return _deploy(boards[name], errands.get(name), progress)

    done: dict[str, Deployed] = {}
    errors: dict[str, BenchError] = {}
    for message in Crew(parallel).start({name: partial(send, name) for name in boards}).listen():
        if isinstance(message, Ended) and isinstance(message.value, Deployed):
            done[message.name] = message.value
        elif isinstance(message, Ended) and isinstance(message.error, BenchError):
            errors[message.name] = message.error
        elif isinstance(message, Ended) and message.error is not None:
            raise message.error
    return [done[name] for name in boards if name in done], errors


def _deploy(board: Board, errand: Errand | None, progress: Progress) -> Deployed:
    """Send what is missing of an errand's files; what readying the board has sent is counted in."""
    if errand is None:
        return _describe(board, board.deployment)
    return _describe(board, board.deployment, send_errand(errand, progress))


def _describe(board: Board, *costs: Deployment) -> Deployed:
    return Deployed(
        device=board.device.name,
        board=board.facts.board,
        bytes_sent=sum(cost.bytes_sent for cost in costs),
        files_sent=sum(cost.blobs_sent for cost in costs),
        seconds=sum(cost.seconds for cost in costs),
    )
