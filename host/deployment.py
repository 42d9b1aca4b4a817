"""Devices get everything that a sweep would need, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from host.converting import find_unconvertible, keep_convertible
from host.errors import BenchError
from host.fitness import find_unfit
from host.fleet.boards import Board, choose_devices
from host.fleet.registry import load_devices
from host.measuring import Errand, plan_errands, send_files
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
) -> tuple[list[Deployed], Mapping[str, BenchError]]:
    """Ready the devices, and send the variants of a profile too, all or those with these labels.

    Variants that a sweep would not measure, since they are not accurate enough, are not sent. The errors are
    those of devices that could not be used, or lack what the profile asks for; where no device could, the
    first is raised.
    """
    choices = profile.devices if profile else ()
    chosen = choose_devices(choices, device_names, load_devices(workspace))
    if profile is None:
        boards, errors = ready_boards(chosen, lambda _: (RuntimeSettings(),), workspace, progress)
        return [_deploy(board, None, progress) for board in boards.values()], errors
    plan = plan_profile(profile, [device.name for device in chosen], workspace, labels)
    servable = keep_convertible(plan.tasks, progress)
    ready, errors = ready_boards(chosen, partial(runtimes_of, servable), workspace, progress)
    boards, misfits = split_suitable(plan, servable, ready)
    if not boards:
        raise next(iter({**errors, **misfits}.values()))
    tasks = [task for task in leave_out_optional(plan, servable, boards.values())[0] if task.device in boards]
    errands = _plan_sending(plan, tasks, profile.limits, boards, workspace, progress, jobs)
    sent = [_deploy(board, errands.get(name), progress) for name, board in boards.items()]
    return sent, {**errors, **misfits}


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


def _deploy(board: Board, errand: Errand | None, progress: Progress) -> Deployed:
    """Send what is missing of an errand's files; what readying the board has sent is counted in."""
    costs = [board.deployment]
    if errand:
        with board.connect() as remote:
            costs.append(send_files(errand, remote, progress))
    return Deployed(
        device=board.device.name,
        board=board.facts.board,
        bytes_sent=sum(cost.bytes_sent for cost in costs),
        files_sent=sum(cost.blobs_sent for cost in costs),
        seconds=sum(cost.seconds for cost in costs),
    )
