"""Devices get everything that a sweep would need, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from host.errors import BenchError
from host.fleet.boards import Board, choose_devices
from host.fleet.registry import load_devices
from host.measuring import Errand, plan_errands, send_files
from host.preparing import build_artifacts, plan_profile, ready_boards
from host.progress import Progress
from host.specs.profile import Profile
from host.specs.record import Record
from host.suitability import check_suitability
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
) -> tuple[list[Deployed], Mapping[str, BenchError]]:
    """Ready the devices, and send the variants of a profile too, all or those with these labels.

    The errors are those of devices that could not be used; where none could, the first is raised.
    """
    choices = profile.devices if profile else ()
    chosen = choose_devices(choices, device_names, load_devices(workspace))
    boards, errors = ready_boards(chosen, workspace, progress)
    errands: dict[str, Errand] = {}
    if profile is not None:
        plan = plan_profile(profile, list(boards), workspace, labels)
        for board in boards.values():
            check_suitability(plan, plan.tasks, board)
        artifacts = build_artifacts(plan, plan.tasks, workspace, progress)
        planned = plan_errands("deploy", plan, plan.tasks, list(boards.values()), artifacts, workspace.cache)
        errands = {errand.board.device.name: errand for errand in planned}
    return [_deploy(board, errands.get(name), progress) for name, board in boards.items()], errors


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
