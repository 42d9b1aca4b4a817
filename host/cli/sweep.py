"""The commands that build, deploy and measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from host.cli.ledgers import open_ledger
from host.cli.options import (
    current_workspace,
    device_option,
    format_option,
    jobs_option,
    ledger_option,
    parallel_option,
    print_json,
    profile_option,
    show_and_judge,
    variant_option,
)
from host.cli.runtimes import runtime_options, settle_runtime
from host.cli.scenarios import NAMES, choose_scenario, scenario_options

if TYPE_CHECKING:
    from host.deployment import Deployed
    from host.ledger.store import Ledger
    from host.specs.profile import Profile
    from host.sweep import Outcome, Place

PRESETS = ("quick", "standard", "rigorous")


@contextmanager
def open_place(ledger: Ledger, jobs: int = 1, parallel: int | None = None) -> Iterator[Place]:
    """The workspace around the current folder, its ledger, and progress on standard error."""
    from host.report.live import LiveProgress
    from host.sweep import Place

    with LiveProgress() as progress:
        yield Place(current_workspace(), ledger, progress, jobs, parallel)


@click.command()
@profile_option(required=False)
@device_option()
@variant_option
@click.option("--dry-run", is_flag=True, help="Say what would be built, sent and measured; do nothing.")
@click.option("--resume", "resumed", metavar="RUN", help="Measure what an interrupted run has left.")
@click.option("--measure-unfit", is_flag=True, help="Measure variants too that are below min_accuracy.")
@scenario_options
@jobs_option
@parallel_option
@format_option()
@ledger_option
def sweep(
    profile_name: str | None,
    device_names: tuple[str, ...],
    labels: tuple[str, ...],
    dry_run: bool,
    resumed: str | None,
    measure_unfit: bool,
    offline: bool,
    paced: float | None,
    sustained: float | None,
    jobs: int,
    parallel: int | None,
    output: str,
    ledger_url: str | None,
) -> None:
    """Build a profile's variants, measure each on every device."""
    from host.errors import UsageError
    from host.specs.library import load_profile

    if (profile_name is None) == (resumed is None):
        raise UsageError(
            "say either --profile P or --resume RUN", "`bench profiles list` shows the profiles."
        )
    if resumed is not None and (dry_run or device_names or labels):
        raise UsageError("--resume goes on as the run began", "Leave --dry-run, --device and --variant out.")
    if resumed is not None and (offline or paced is not None or sustained is not None):
        raise UsageError("--resume goes on as the run began", f"Leave {', '.join(NAMES)} out.")
    profile = load_profile(current_workspace(), profile_name) if profile_name is not None else None
    if profile is not None:
        measure = choose_scenario(profile.measure, offline=offline, paced=paced, sustained=sustained)
        profile = profile.model_copy(update={"measure": measure})
    if dry_run and profile is not None:
        show_preview(profile, device_names, labels, output)
        return
    from host import sweep as flow

    with open_ledger(ledger_url) as ledger:
        with open_place(ledger, jobs, parallel) as place:
            if profile is not None:
                outcome = flow.sweep(profile, device_names, place, labels, measure_unfit=measure_unfit)
            else:
                outcome = flow.resume(str(resumed), place, measure_unfit=measure_unfit)
        show_and_judge(partial(show_outcome, outcome, ledger, output), partial(judge_outcome, outcome))


def show_preview(
    profile: Profile, device_names: tuple[str, ...], labels: tuple[str, ...], output: str
) -> None:
    from host.preview import preview_sweep
    from host.report.preview import print_preview

    preview = preview_sweep(profile, device_names, current_workspace(), labels)
    if output == "json":
        print_json(preview.model_dump(mode="json"))
    else:
        print_preview(preview)


def show_outcome(outcome: Outcome, ledger: Ledger, output: str) -> None:
    """Print the comparison of a run on standard output, in the asked form, and who wins within its limits."""
    from host.ledger.recommending import rank_rows
    from host.ledger.rows import result_rows
    from host.ledger.wishes import describe_wishes
    from host.report.exporting import write_rows
    from host.report.table import print_winners

    rows = result_rows(ledger, outcome.run)
    write_rows(rows, output, None)
    limits = ledger.find_run(outcome.run).limits
    if output == "table" and limits is not None:
        print_winners(rank_rows(rows, describe_wishes(limits)), rows)


def judge_outcome(outcome: Outcome) -> None:
    """Raise what the exit code should tell: devices that were lost first, then failed measurements."""
    from host.errors import DeviceError, MeasurementsFailed, Unsuitable

    again = f"The rest: bench sweep --resume {outcome.run}"
    reasons = "\n".join(describe_loss(outcome, name) for name in outcome.errors)
    if not all(isinstance(error, Unsuitable) for error in outcome.errors.values()):
        raise DeviceError(f"{len(outcome.errors)} of the devices did not finish:\n{reasons}", again)
    if outcome.failed:
        count = f"{outcome.failed} of {outcome.failed + outcome.measured} measurements failed"
        raise MeasurementsFailed(
            f"{count}; the rest is saved" + (f"\n{reasons}" if reasons else ""),
            f"Once mended: bench sweep --resume {outcome.run}",
        )
    if outcome.errors:
        count = f"{len(outcome.errors)} of the devices cannot run what is asked of them"
        raise MeasurementsFailed(
            f"{count}; the rest is saved:\n{reasons}", f"Once mended: bench sweep --resume {outcome.run}"
        )


def describe_loss(outcome: Outcome, name: str) -> str:
    """Why a device did not finish, and how many of its measurements are missing for that."""
    error = str(outcome.errors[name])
    if name not in outcome.missing:
        return error
    missing, total = outcome.missing[name]
    return f"{name}: {missing} of {total} measurements are missing\n{error}"


@click.command()
@profile_option(required=True)
@variant_option
@jobs_option
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Build on workers that share this folder: Dask's tcp://10.0.0.5:8786, or Ray's ray://10.0.0.5:10001.",
)
@format_option()
def build(profile_name: str, labels: tuple[str, ...], jobs: int, scheduler: str | None, output: str) -> None:
    """Build every variant of a profile, without any device."""
    from host.compress.building import build_variants
    from host.preparing import plan_profile
    from host.report.artifacts import print_artifacts
    from host.report.live import LiveProgress
    from host.specs.library import load_profile

    workspace = current_workspace()
    profile = load_profile(workspace, profile_name)
    plan = plan_profile(profile, (), workspace, labels)
    with LiveProgress() as progress:
        built = build_variants(
            plan.variants,
            workspace.cache,
            plan.measure.evaluation_images,
            progress,
            jobs=jobs,
            scheduler=scheduler,
        )
    if output == "json":
        print_json([artifact.model_dump(mode="json") for artifact in built])
    else:
        baselines = {item.id for item in plan.variants if item.variant.is_dense}
        print_artifacts(built, baselines, min_accuracy=profile.limits.min_accuracy)


@click.command()
@device_option(required=True)
@profile_option(required=False)
@variant_option
@jobs_option
@parallel_option
@format_option()
def deploy(
    device_names: tuple[str, ...],
    profile_name: str | None,
    labels: tuple[str, ...],
    jobs: int,
    parallel: int | None,
    output: str,
) -> None:
    """Put the agent, runtimes and a profile's variants on devices.

    Without a profile, the agent and its runtimes alone. What a board has already is not sent again.
    """
    from host.deployment import deploy_to_devices
    from host.errors import DeviceError, UsageError
    from host.report.live import LiveProgress
    from host.specs.library import load_profile

    if labels and profile_name is None:
        raise UsageError("--variant chooses among the variants of a profile", "Name one with --profile.")
    workspace = current_workspace()
    profile = load_profile(workspace, profile_name) if profile_name else None
    with LiveProgress() as progress:
        done, errors = deploy_to_devices(device_names, profile, workspace, progress, labels, jobs, parallel)
    if output == "json":
        print_json([item.model_dump(mode="json") for item in done])
    else:
        show_deployed(done)
    if errors:
        reasons = "\n".join(str(error) for error in errors.values())
        raise DeviceError(f"{len(errors)} of the devices got nothing:\n{reasons}")


def show_deployed(done: Sequence[Deployed]) -> None:
    from host.report.listing import print_rows

    print_rows(
        "Deployed",
        ("device", "board", "sent", "files", "seconds"),
        [
            (
                item.device,
                item.board,
                f"{item.bytes_sent / 1024:.0f} KiB",
                str(item.files_sent),
                f"{item.seconds:.1f}",
            )
            for item in done
        ],
    )


@click.command()
@click.argument("model", metavar="MODEL.onnx", type=click.Path(path_type=Path))
@device_option(required=True)
@click.option(
    "--shape", "shapes", metavar="INPUT=1,3,224,224", multiple=True, help="Extents that the file leaves open."
)
@click.option(
    "--runtime",
    "names",
    metavar="R",
    multiple=True,
    default=["onnxruntime"],
    show_default=True,
    help="onnxruntime, openvino, ncnn or tensorrt; repeat to compare.",
)
@runtime_options
@click.option("--measure", type=click.Choice(PRESETS), default="standard", show_default=True)
@scenario_options
@parallel_option
@format_option()
@ledger_option
def run(
    model: Path,
    device_names: tuple[str, ...],
    shapes: tuple[str, ...],
    names: tuple[str, ...],
    provider: str | None,
    threads: int | None,
    measure: str,
    offline: bool,
    paced: float | None,
    sustained: float | None,
    parallel: int | None,
    output: str,
    ledger_url: str | None,
) -> None:
    """Measure one ONNX file as it is."""
    from host import sweep as flow
    from host.specs.measure import Measure

    settled = parse_shapes(shapes)
    settings = [settle_runtime(name, provider, threads) for name in dict.fromkeys(names)]
    plain = Measure.model_validate({"preset": measure})
    protocol = choose_scenario(plain, offline=offline, paced=paced, sustained=sustained)
    with open_ledger(ledger_url) as ledger:
        with open_place(ledger, parallel=parallel) as place:
            outcome = flow.run_file(model, settled, device_names, settings, protocol, place)
        show_and_judge(partial(show_outcome, outcome, ledger, output), partial(judge_outcome, outcome))


def parse_shapes(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """`x=1,3,224,224` as a name and its extents; a shape without a name is for the only input."""
    from host.errors import UsageError

    shapes = {}
    for text in texts:
        name, _, extents = text.rpartition("=")
        try:
            shape = tuple(int(extent) for extent in extents.split(","))
        except ValueError:
            shape = ()
        if not shape or min(shape) < 1:
            raise UsageError(f"--shape {text!r} is no shape", "Write it as INPUT=1,3,224,224.")
        shapes[name] = shape
    return shapes
