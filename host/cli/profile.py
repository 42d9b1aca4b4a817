"""`bench profile`: time by operator and by layer, and what changed from one variant to the other."""

from __future__ import annotations

from pathlib import Path

import click

from host.cli.options import current_workspace, device_option, format_option, print_json, profile_option
from host.cli.runtimes import runtime_options, settle_runtime


@click.command()
@click.argument("models", metavar="[MODEL.onnx [OTHER.onnx]]", nargs=-1, type=click.Path(path_type=Path))
@profile_option(required=False)
@click.option(
    "--variant",
    "labels",
    metavar="V",
    multiple=True,
    help="A variant of the profile; a second one is compared with the first.",
)
@device_option()
@click.option("--runtime", default="onnxruntime", show_default=True, metavar="R")
@runtime_options
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--shape", "shapes", metavar="INPUT=1,3,224,224", multiple=True, help="Extents that the file leaves open."
)
@format_option()
def profile(
    models: tuple[Path, ...],
    profile_name: str | None,
    labels: tuple[str, ...],
    device_names: tuple[str, ...],
    runtime: str,
    provider: str | None,
    threads: int | None,
    batch: int,
    shapes: tuple[str, ...],
    output: str,
) -> None:
    """Show where inference time goes, by operator and by layer.

    Of one or two ONNX files, or of one or two variants of a profile (they are built if need be). Of two, what
    changed and why: `bench profile --profile x86-emulated --variant dense --variant int8`.
    """
    from host.cli.sweep import parse_shapes
    from host.fleet.boards import name_devices
    from host.profiling import profile_files, profile_variants
    from host.report.live import LiveProgress
    from host.report.operators import print_report
    from host.specs.library import load_profile

    workspace = current_workspace()
    device_names = name_devices(device_names, workspace)
    check_question(models, profile_name, labels, device_names, shapes)
    settings = settle_runtime(runtime, provider, threads, batch)
    device = device_names[0] if device_names else None
    with LiveProgress() as progress:
        if profile_name is not None:
            asked = load_profile(workspace, profile_name)
            report = profile_variants(asked, labels, device, settings, workspace, progress)
        else:
            settled = parse_shapes(shapes)
            report = profile_files(models, settled, str(device), settings, workspace, progress)
    if output == "json":
        print_json(report.model_dump(mode="json"))
    else:
        print_report(report)


def check_question(
    models: tuple[Path, ...],
    profile_name: str | None,
    labels: tuple[str, ...],
    device_names: tuple[str, ...],
    shapes: tuple[str, ...],
) -> None:
    """Raise UsageError where files and a profile are mixed, or something is missing or too much."""
    from host.errors import UsageError

    if bool(models) == (profile_name is not None):
        raise UsageError("say either one or two ONNX files, or --profile P", "`bench profile --help`")
    if max(len(models), len(labels)) > 2 or len(device_names) > 1:
        raise UsageError("one or two are profiled at a time, on one device", "Leave the others out.")
    if profile_name is None and (labels or not device_names):
        missing = "--variant chooses among the variants of a profile" if labels else "no device is named"
        raise UsageError(missing, "A file is profiled so: bench profile MODEL.onnx --device D")
    if profile_name is not None and shapes:
        raise UsageError("--shape is for ONNX files", "A profile's recipe says the shape.")
