"""The product as a flow: plan, ready the boards, build, measure, save."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from host.compress.onnx_files import read_onnx
from host.errors import BenchError, Interrupted, UsageError
from host.fleet.boards import Chosen, choose_devices
from host.fleet.registry import load_devices
from host.ledger.records import RunRecord
from host.ledger.store import Ledger
from host.measuring import measure_errands, plan_errands
from host.plan import Plan, Task, digest, plan_file
from host.preparing import build_artifacts, plan_profile, ready_boards
from host.progress import Progress
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


def sweep(profile: Profile, device_names: Sequence[str], place: Place, labels: Sequence[str] = ()) -> Outcome:
    """Measure the variants of a profile, or those with these labels, on every device that it asks for."""
    devices = choose_devices(profile.devices, device_names, load_devices(place.workspace))
    plan = plan_profile(profile, [device.name for device in devices], place.workspace, labels)
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
    """The tasks that a run has left.

    `attempt` is empty until failed tasks are all that is left; then it is another one for every try.
    """

    tasks: list[Task]
    attempt: str


def find_outstanding(record: RunRecord, ledger: Ledger) -> Outstanding:
    """What a run has left: tasks without any result or, where there is none, those that failed."""
    tasks = Plan.model_validate(record.plan).tasks
    measured = {found.task: found for found in ledger.measurements(record.id)}
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
