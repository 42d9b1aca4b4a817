"""The `bench` command: it finds the command, and prints what was expected to go wrong."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from host.cli import (
    analyze,
    baseline,
    check,
    clean,
    compare,
    devices,
    doctor,
    exchange,
    models,
    profile,
    profiles,
    recommend,
    report,
    results,
    sweep,
    track,
    workspaces,
)
from host.cli.options import current_workspace
from host.errors import BenchError
from host.fleet.ssh_answers import let_person_be_asked
from host.terminal import ask_secret, has_terminal

PLACE_FAULTS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR}
"""What is wrong with the place that we write to, and not with us."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="boardbench", prog_name="bench")
@click.option("--debug", is_flag=True, help="Show the traceback of an expected error too.")
def bench(debug: bool) -> None:
    """From a PyTorch or ONNX model to a proven best variant for each of your boards.

    A first look, on this machine: bench sweep --profile x86-emulated
    """


for command in (
    workspaces.init,
    doctor.doctor,
    devices.devices,
    models.models,
    profiles.profiles,
    sweep.build,
    sweep.deploy,
    clean.clean,
    sweep.sweep,
    sweep.run,
    results.results,
    report.report,
    track.track,
    exchange.export,
    exchange.import_,
    compare.compare,
    baseline.baseline,
    check.check,
    recommend.recommend,
    analyze.analyze,
    profile.profile,
):
    bench.add_command(command)


def main() -> None:
    """The entry point of the distribution."""
    open_streams()
    if has_terminal():
        let_person_be_asked(ask_secret)
    sys.exit(run_bench(sys.argv[1:]))


def open_streams() -> None:
    """Give every standard stream that was closed somewhere to go, and let none fail at a character."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in the order of their numbers
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - stays open
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def run_bench(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Unknown exceptions pass: they are bugs."""
    # From 1.31 on, ONNX Runtime measures for its maker, in a thread and in files below ~/.cache.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    output = sys.stdout
    try:
        bench.main(args=list(arguments), prog_name="bench", standalone_mode=False)
        sys.stdout.flush()  # what cannot be written shall fail here
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BenchError as error:
        if "--debug" in arguments:
            raise
        return tell_error(error)
    except (KeyboardInterrupt, click.Abort):
        click.echo("bench: interrupted", err=True)
        return 130
    except BrokenPipeError:
        return leave_reader()
    except SystemExit as error:
        # What rich makes of it, and click, which then swaps the stream for one that cannot fail.
        if isinstance(error.__context__, BrokenPipeError) or sys.stdout is not output:
            return leave_reader()
        raise
    except OSError as error:
        if "--debug" in arguments or error.errno not in PLACE_FAULTS:
            raise
        return tell_error(describe_place(error))
    return 0


def leave_reader() -> int:
    """The reader of our output left, as `head` does; keep the interpreter from saying so at exit."""
    sys.stdout = None
    return 0


def describe_place(error: OSError) -> BenchError:
    """An error of a file or a disk, for a person."""
    from host.full_disks import name_full_folders

    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    full = name_full_folders(current_workspace()) if is_full and error.filename is None else None
    where = error.filename or full or "the output"
    return BenchError(f"{where}: {error.strerror}", "Check its permissions, and the space on its disk.")


def tell_error(error: BenchError) -> int:
    """Print an expected error for a person, and return its exit code, whether or not anybody reads it."""
    with suppress(BrokenPipeError):
        click.echo(f"bench: {error.message}", err=True)
        if error.hint:
            click.echo(error.hint, err=True)
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except BrokenPipeError:
            setattr(sys, name, None)  # the interpreter would fail at exit, with a code of its own
    return error.exit_code
