"""The product as a flow: plan, ready the boards, build, measure, save."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from host.collect import describe_unfit, describe_unmeasured
from host.compress.onnx_files import read_onnx
from host.converting import find_unconvertible, keep_convertible
from host.errands import plan_errands
from host.errors import BenchError, DeviceError, Interrupted, Unsuitable, UsageError
from host.fitness import find_unfit
from host.fleet.boards import Board, Chosen, choose_devices
from host.fleet.registry import load_devices
from host.ledger.records import RunRecord
from host.ledger.store import Ledger
from host.measuring import measure_errands
from host.plan import Plan, Task, digest, plan_file, runtimes_of, tell_left_out
from host.preparing import build_artifacts, plan_profile, ready_boards
from host.progress import Progress
from host.specs.artifact import Artifact
from host.specs.measure import Measure
from host.specs.measurement import Failure, Measurement
from host.specs.profile import Limits, Profile, RuntimeSettings
from host.suitability import find_crowded, leave_out_optional, split_suitable
from host.workspace import Workspace


@dataclass(frozen=True)
class Place:
    """Where a sweep happens: its workspace, the store of results, who watches.

    `jobs` variants are built at once, and at most `parallel` boards are worked on at once.
    """

    workspace: Workspace
    ledger: Ledger
    progress: Progress
    jobs: int = 1
    parallel: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `errors` are those of devices that could not be used, or not to the end.

    `unfit` counts the tasks that were left out because their variants are not accurate enough. `missing`
    has, for each device with an error, how many of how many tasks have no result.
    """

    run: str
    measured: int
    failed: int
    unfit: int
    errors: Mapping[str, BenchError]
    missing: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def sweep(
    profile: Profile,
    device_names: Sequence[str],
    place: Place,
    labels: Sequence[str] = (),
    *,
    measure_unfit: bool = False,
) -> Outcome:
    """Measure the variants of a profile, or those with these labels, on every device that it asks for.

    Variants below its `min_accuracy` are built, and then left out unless `measure_unfit`.
    """
    devices = choose_devices(profile.devices, device_names, load_devices(place.workspace))
    plan = plan_profile(profile, [device.name for device in devices], place.workspace, labels)
    tell_plan(plan, place.progress)
    record = open_run(plan, devices, place, limits=profile.limits, measure_unfit=measure_unfit)
    return carry_out(record, place)


def tell_plan(plan: Plan, progress: Progress) -> None:
    """Say what a plan leaves out. Raises UsageError where nothing is left."""
    sentences = tell_left_out(plan.left_out)
    if not plan.tasks:
        raise UsageError("there is nothing to measure: " + "; ".join(sentences), "Change the profile.")
    for sentence in sentences:
        progress.say(sentence)


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


def resume(text: str, place: Place, *, measure_unfit: bool = False) -> Outcome:
    """Measure what an interrupted run has left; with `measure_unfit` what it left out, too.

    Raises UsageError where nothing is left.
    """
    found = place.ledger.find_run(text)
    record = found.model_copy(update={"measures_unfit": found.measures_unfit or measure_unfit})
    if not find_outstanding(record, place.ledger).tasks:
        raise UsageError(f"run {record.id} is complete", f"`bench results --run {record.id}` shows it.")
    return carry_out(record, place)


def open_run(
    plan: Plan,
    devices: Sequence[Chosen],
    place: Place,
    *,
    limits: Limits | None = None,
    measure_unfit: bool = False,
    again_of: str | None = None,
) -> RunRecord:
    """A new run in the store, so that whatever stops it later, it can be resumed."""
    started = datetime.now(UTC)
    record = RunRecord(
        id=f"{started:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        profile=plan.profile,
        plan=plan.model_dump(mode="json"),
        devices={device.name: device.cpus for device in devices},
        seed=plan.seed,
        limits=limits,
        measures_unfit=measure_unfit,
        again_of=again_of,
        started_at=started,
    )
    place.ledger.start_run(record)
    place.progress.say(f"run {record.id}")
    return record


def carry_out(record: RunRecord, place: Place) -> Outcome:
    """Ready the boards, build what they will run, measure what is fit, and close the run."""
    plan = Plan.model_validate(record.plan)
    with closing_run(record.id, place.ledger):
        left = find_outstanding(record, place.ledger)
        servable = keep_convertible(left.tasks, place.progress)
        ready, errors = ready_boards(
            find_chosen(record, servable),
            partial(runtimes_of, servable),
            place.workspace,
            place.progress,
            place.parallel,
        )
        boards, misfits = split_suitable(plan, servable, ready)
        misfits |= {name: error for name, error in errors.items() if isinstance(error, Unsuitable)}
        hold_unsuitable(misfits, boards or errors.keys() - misfits.keys(), place.progress)
        tasks = keep_suitable(plan, servable, boards, place.progress)
        for sentence in find_crowded(tasks, boards):
            place.progress.say(sentence)
        artifacts = build_artifacts(plan, tasks, place.workspace, place.progress, place.jobs)
        fit = set_unfit_aside(record, tasks, boards, artifacts, place)
        ready_tasks = set_unconvertible_aside(record, plan, fit, boards, artifacts, place)
        errands = plan_errands(
            record.id, plan, ready_tasks, [*boards.values()], artifacts, place.workspace.cache, left.attempt
        )
        tally = measure_errands(errands, place.ledger, place.progress, place.parallel)
        failed = tally.failed + len(fit) - len(ready_tasks)
        errors = {**errors, **misfits, **tally.errors}
        place.ledger.finish_run(record.id, "failed" if errors else "completed", datetime.now(UTC))
        missing = count_missing(plan, errors, place.ledger.measurements(record.id))
    return Outcome(record.id, tally.measured, failed, len(tasks) - len(fit), errors, missing)


def count_missing(
    plan: Plan, devices: Collection[str], found: Sequence[Measurement]
) -> dict[str, tuple[int, int]]:
    """Device to how many of how many of its tasks have no result, for the devices that could not go on."""
    measured = {one.task for one in found}
    return {
        name: (sum(task.id not in measured for task in plan.tasks_of(name)), len(plan.tasks_of(name)))
        for name in devices
    }


def keep_suitable(
    plan: Plan, tasks: Sequence[Task], boards: Mapping[str, Board], progress: Progress
) -> list[Task]:
    """The tasks that the boards can run; it is said which optional ones they leave out."""
    kept, sentences = leave_out_optional(plan, tasks, boards.values())
    for sentence in sentences:
        progress.say(sentence)
    return [task for task in kept if task.device in boards]


def hold_unsuitable(misfits: Mapping[str, Unsuitable], others: Collection[str], progress: Progress) -> None:
    """Say which boards cannot run what is asked of them; without `others`, raise the first error."""
    if misfits and not others:
        raise next(iter(misfits.values()))
    for error in misfits.values():
        progress.say(f"{error.message}; the other devices go on")


def set_unfit_aside(
    record: RunRecord,
    tasks: Sequence[Task],
    boards: Mapping[str, Board],
    artifacts: Mapping[str, Artifact],
    place: Place,
) -> list[Task]:
    """The tasks to measure; of the others it is said, and saved, why no board spends time on them."""
    unfit = {} if record.measures_unfit else find_unfit(tasks, artifacts, record.limits)
    models = {task.model for task in tasks}
    for task in {task.variant_id: task for task in tasks if task.variant_id in unfit}.values():
        name = task.label if len(models) == 1 else f"{task.model} {task.label}"
        reason = unfit[task.variant_id]
        place.progress.say(f"{name}: unfit, {reason}; not measured (--measure-unfit measures it)")
    now = datetime.now(UTC)
    for task in tasks:
        if task.variant_id in unfit:
            artifact, reason = artifacts[task.variant_id], unfit[task.variant_id]
            place.ledger.save(describe_unfit(record.id, boards[task.device], task, artifact, reason, now), ())
    return [task for task in tasks if task.variant_id not in unfit]


def set_unconvertible_aside(
    record: RunRecord,
    plan: Plan,
    tasks: Sequence[Task],
    boards: Mapping[str, Board],
    artifacts: Mapping[str, Artifact],
    place: Place,
) -> list[Task]:
    """The tasks whose variants their runtimes can open; it is said, and saved, why the others cannot."""
    errors = find_unconvertible(plan, tasks, artifacts, place.workspace.cache)
    for message in dict.fromkeys(str(error) for error in errors.values()):
        place.progress.say(message)
    now = datetime.now(UTC)
    for task in tasks:
        if task.id in errors:
            artifact, board = artifacts[task.variant_id], boards[task.device]
            failure = Failure(kind="convert", message=errors[task.id].message)
            place.ledger.save(describe_unmeasured(record.id, board, task, artifact, failure, now), ())
    return [task for task in tasks if task.id not in errors]


@contextmanager
def closing_run(run: str, ledger: Ledger) -> Iterator[None]:
    """Mark a run that does not reach its end, and say how to go on with it.

    One that no board can run, and so has not measured anything, is forgotten: to resume it is of no use.
    """
    ledger.finish_run(run, "running")
    try:
        yield
    except KeyboardInterrupt as interrupt:
        ledger.finish_run(run, "interrupted", datetime.now(UTC))
        raise Interrupted(
            f"run {run} is interrupted; what was measured is saved",
            f"The rest: bench sweep --resume {run}",
        ) from interrupt
    except BaseException as error:
        ledger.finish_run(run, "failed", datetime.now(UTC))
        if isinstance(error, Unsuitable):
            ledger.forget_run(run)
        elif isinstance(error, DeviceError):
            error.hint = " ".join(filter(None, (error.hint, f"Then: bench sweep --resume {run}")))
        raise


@dataclass(frozen=True)
class Outstanding:
    """The tasks that a run has left.

    `attempt` is empty until failed tasks are all that is left; then it is another one for every try.
    """

    tasks: list[Task]
    attempt: str


def find_outstanding(record: RunRecord, ledger: Ledger) -> Outstanding:
    """What a run has left: tasks without any result or, where there is none, those that failed.

    Where the run measures unfit variants, it is without a result of those that it left out before.
    """
    tasks = Plan.model_validate(record.plan).tasks
    found = ledger.measurements(record.id)
    measured = {one.task: one for one in found if one.status != "unfit" or not record.measures_unfit}
    unmeasured = [task for task in tasks if task.id not in measured]
    if unmeasured:
        return Outstanding(unmeasured, "")
    failed = [task for task in tasks if measured[task.id].status == "failed"]
    # With the times of the failures: what the board has tried under this name it tells, and tries no more.
    return Outstanding(failed, digest([[task.id, measured[task.id].started_at] for task in failed]))


def find_chosen(record: RunRecord, tasks: Sequence[Task]) -> list[Chosen]:
    """The devices of a run that still have tasks."""
    names = {task.device for task in tasks}
    return [
        Chosen.model_validate({"name": name, "cpus": cpus})
        for name, cpus in record.devices.items()
        if name in names
    ]
