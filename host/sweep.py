"""The product as a flow: plan, ready the boards, build, measure, save."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from host.compress.building import build_variants
from host.compress.onnx_files import read_onnx
from host.compress.origins import describe_origin
from host.crew import Crew, Ended, Say
from host.errors import BenchError, Interrupted, ModelError, UsageError
from host.fleet.boards import Board, Chosen, choose_devices, ready_board
from host.fleet.registry import load_devices
from host.ledger.records import RunRecord
from host.ledger.store import Ledger
from host.measuring import measure_errands, plan_errands
from host.plan import Plan, Task, digest, plan_file, plan_sweep
from host.progress import Progress
from host.specs.artifact import Artifact
from host.specs.library import load_recipes
from host.specs.measure import Measure
from host.specs.profile import Profile, RuntimeSettings
from host.suitability import check_suitability
from host.workspace import Workspace


@dataclass(frozen=True)
class Place:
    """Where a sweep happens: its workspace, the store of results, and who watches."""

    workspace: Workspace
    ledger: Ledger
    progress: Progress


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `errors` are those of devices that could not be used, or not to the end."""

    run: str
    measured: int
    failed: int
    errors: Mapping[str, BenchError]


def sweep(profile: Profile, device_names: Sequence[str], place: Place) -> Outcome:
    """Measure every variant of a profile on every device that it asks for."""
    devices = choose_devices(profile.devices, device_names, load_devices(place.workspace))
    plan = plan_profile(profile, [device.name for device in devices], place.workspace)
    return carry_out(open_run(plan, devices, place), place)


def run_file(
    file: Path,
    shapes: Mapping[str, tuple[int, ...]],
    device_names: Sequence[str],
    runtimes: Sequence[RuntimeSettings],
    measure: Measure,
    place: Place,
) -> Outcome:
    """Measure one ONNX file as it is."""
    devices = choose_devices((), device_names, load_devices(place.workspace))
    artifact = read_onnx(file.resolve(), shapes)
    plan = plan_file(artifact, shapes, [device.name for device in devices], runtimes, measure)
    return carry_out(open_run(plan, devices, place), place)


def resume(text: str, place: Place) -> Outcome:
    """Measure what an interrupted run has left. Raises UsageError where nothing is left."""
    record = place.ledger.find_run(text)
    if not find_outstanding(record, place.ledger).tasks:
        raise UsageError(f"run {record.id} is complete", f"`bench results --run {record.id}` shows it.")
    return carry_out(record, place)


def plan_profile(profile: Profile, devices: Sequence[str], workspace: Workspace) -> Plan:
    """The plan of a profile on these devices; nothing is started, built or sent."""
    recipes = load_recipes(workspace, profile.model)
    origins = {recipe.name: describe_origin(recipe) for recipe in recipes}
    return plan_sweep(profile, recipes, devices, origins)


def open_run(plan: Plan, devices: Sequence[Chosen], place: Place) -> RunRecord:
    """A new run in the store, so that whatever stops it later, it can be resumed."""
    started = datetime.now(UTC)
    record = RunRecord(
        id=f"{started:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        profile=plan.profile,
        plan=plan.model_dump(mode="json"),
        devices={device.name: device.cpus for device in devices},
        seed=plan.seed,
        started_at=started,
    )
    place.ledger.start_run(record)
    place.progress.say(f"run {record.id}")
    return record


def carry_out(record: RunRecord, place: Place) -> Outcome:
    """Ready the boards, build what they will run, measure it, and close the run."""
    plan = Plan.model_validate(record.plan)
    with closing_run(record.id, place.ledger):
        left = find_outstanding(record, place.ledger)
        boards, errors = ready_boards(find_chosen(record, left.tasks), place.workspace, place.progress)
        tasks = [task for task in left.tasks if task.device in boards]
        for board in boards.values():
            check_suitability(plan, tasks, board)
        artifacts = build_artifacts(plan, tasks, place.workspace, place.progress)
        errands = plan_errands(
            record.id, plan, tasks, [*boards.values()], artifacts, place.workspace.cache, left.attempt
        )
        tally = measure_errands(errands, place.ledger, place.progress)
        is_complete = not errors and not tally.errors
        place.ledger.finish_run(record.id, "completed" if is_complete else "failed", datetime.now(UTC))
    return Outcome(record.id, tally.measured, tally.failed, {**errors, **tally.errors})


@contextmanager
def closing_run(run: str, ledger: Ledger) -> Iterator[None]:
    """Mark a run that does not reach its end, and say how to go on with it."""
    ledger.finish_run(run, "running")
    try:
        yield
    except KeyboardInterrupt as interrupt:
        ledger.finish_run(run, "interrupted", datetime.now(UTC))
        raise Interrupted(
            f"run {run} is interrupted; what was measured is saved",
            f"The rest: bench sweep --resume {run}",
        ) from interrupt
    except BaseException:
        ledger.finish_run(run, "failed", datetime.now(UTC))
        raise


@dataclass(frozen=True)
class Outstanding:
    """The tasks that a run has left. `attempt` is empty until failed ones are all that is left to try."""

    tasks: list[Task]
    attempt: str


def find_outstanding(record: RunRecord, ledger: Ledger) -> Outstanding:
    """What a run has left: tasks without any result or, where there is none, those that failed."""
    tasks = Plan.model_validate(record.plan).tasks
    statuses = ledger.task_statuses(record.id)
    unmeasured = [task for task in tasks if task.id not in statuses]
    if unmeasured:
        return Outstanding(unmeasured, "")
    failed = [task for task in tasks if statuses[task.id] == "failed"]
    return Outstanding(failed, digest([task.id for task in failed]))


def find_chosen(record: RunRecord, tasks: Sequence[Task]) -> list[Chosen]:
    """The devices of a run that still have tasks."""
    names = {task.device for task in tasks}
    return [
        Chosen.model_validate({"name": name, "cpus": cpus})
        for name, cpus in record.devices.items()
        if name in names
    ]


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
    for message in Crew({chosen.name: partial(ready, chosen) for chosen in devices}).listen():
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
    plan: Plan, tasks: Sequence[Task], workspace: Workspace, progress: Progress
) -> dict[str, Artifact]:
    """Variant id to its file, for every variant that a task still needs."""
    wanted = {task.variant_id for task in tasks}
    planned = [item for item in plan.variants if item.id in wanted]
    built = build_variants(planned, workspace.cache, plan.measure.evaluation_images, progress)
    artifacts = {artifact.variant_id: artifact for artifact in built}
    for file in plan.files:
        artifacts[file.id] = read_onnx(file.path, file.shapes)
        if artifacts[file.id].blob.sha256 != file.sha256:
            raise ModelError(
                f"{file.path} is not what it was when the run began",
                "Put the old file back, or start a new run.",
            )
    return artifacts
