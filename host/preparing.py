"""What comes before measuring: the plan of a profile, boards that are ready, variants that are built."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from host.compress.building import build_variants
from host.compress.onnx_files import read_onnx
from host.compress.origins import describe_origin
from host.crew import Crew, Ended, Say
from host.errors import BenchError, ModelError
from host.fleet.boards import Board, Chosen, ready_board
from host.plan import Plan, Task, narrow_plan, plan_sweep
from host.progress import Progress
from host.specs.artifact import Artifact
from host.specs.library import load_recipes
from host.specs.profile import Profile
from host.workspace import Workspace


def plan_profile(
    profile: Profile, devices: Sequence[str], workspace: Workspace, labels: Sequence[str] = ()
) -> Plan:
    """The plan of a profile on these devices, of all variants or those with these labels.

    Nothing is started, built or sent.
    """
    recipes = load_recipes(workspace, profile.model)
    origins = {recipe.name: describe_origin(recipe) for recipe in recipes}
    return narrow_plan(plan_sweep(profile, recipes, devices, origins), labels)


def ready_boards(
    devices: Sequence[Chosen], workspace: Workspace, progress: Progress
) -> tuple[dict[str, Board], dict[str, BenchError]]:
    """The boards that are ready, and the errors of those that are not.

    Raises the error itself where no board is ready: then there is nothing to go on with.
    """

    def ready(chosen: Chosen, _say: Say) -> Board:
        return ready_board(chosen, workspace, progress)

    boards: dict[str, Board] = {}
    errors: dict[str, BenchError] = {}
    crew = Crew().start({chosen.name: partial(ready, chosen) for chosen in devices})
    for message in crew.listen():
        if not isinstance(message, Ended):
            continue
        if isinstance(message.value, Board):
            boards[message.name] = message.value
        elif isinstance(message.error, BenchError):
            errors[message.name] = message.error
        elif message.error is not None:
            raise message.error
    if not boards:
        raise next(iter(errors.values()))
    return boards, errors


def build_artifacts(
    plan: Plan, tasks: Sequence[Task], workspace: Workspace, progress: Progress, jobs: int = 1
) -> dict[str, Artifact]:
    """Variant id to its file, for every variant that a task still needs; `jobs` are built at once."""
    wanted = {task.variant_id for task in tasks}
    planned = [item for item in plan.variants if item.id in wanted]
    built = build_variants(planned, workspace.cache, plan.measure.evaluation_images, progress, jobs=jobs)
    artifacts = {artifact.variant_id: artifact for artifact in built}
    for file in plan.files:
        artifacts[file.id] = read_onnx(file.path, file.shapes)
        if artifacts[file.id].blob.sha256 != file.sha256:
            raise ModelError(
                f"{file.path} is not what it was when the run began",
                "Put the old file back, or start a new run.",
            )
    return artifacts
