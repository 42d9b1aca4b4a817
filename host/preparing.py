"""What comes before measuring: the plan of a profile, boards that are ready, variants that are built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from host.compress.building import build_variants
from host.compress.onnx_files import read_onnx
from host.compress.origins import describe_origin
from host.crew import AT_ONCE, Crew, Ended, Say
from host.errors import BenchError, ModelError, Unsuitable
from host.fleet.boards import Board, Chosen, ready_board
from host.plan import Plan, Task, narrow_plan, plan_sweep
from host.progress import Progress
from host.specs.artifact import Artifact
from host.specs.library import load_recipes
from host.specs.profile import Profile, RuntimeSettings
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
    devices: Sequence[Chosen],
    runtimes: Callable[[str], Sequence[RuntimeSettings]],
    workspace: Workspace,
    progress: Progress,
    limit: int | None = None,
) -> tuple[dict[str, Board], dict[str, BenchError]]:
    """The boards that are ready for the runtimes that each name stands for, and the errors of the others.

    At most `limit` of them are worked on at once, or a number that this machine bears. Raises the error
    itself where no board is ready: then there is nothing to go on with. A board that is out of reach comes
    before one that lacks something: it may be ready later.
    """

    def ready(chosen: Chosen, _say: Say) -> Board:
        return ready_board(chosen, runtimes(chosen.name), workspace, progress)

    boards: dict[str, Board] = {}
    errors: dict[str, BenchError] = {}
    crew = Crew(limit or AT_ONCE).start({chosen.name: partial(ready, chosen) for chosen in devices})
    for message in crew.listen():
        if not isinstance(message, Ended):
            continue
        if isinstance(message.value, Board):
            boards[message.name] = message.value
        elif isinstance(message.error, BenchError):
            errors[message.name] = message.error
            if len(devices) > 1 and not isinstance(message.error, Unsuitable):
                progress.say(message.error.message)
        elif message.error is not None:
            raise message.error
    if not boards:
        raise min(errors.values(), key=lambda error: isinstance(error, Unsuitable))
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
