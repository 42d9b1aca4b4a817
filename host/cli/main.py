"""The `bench` command: it finds the command, and prints what was expected to go wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from host.cli import devices, doctor, models, profiles, results, sweep, workspaces
from host.errors import BenchError


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
    sweep.sweep,
    sweep.run,
    results.results,
):
    bench.add_command(command)


def main() -> None:
    """The entry point of the distribution."""
    sys.exit(run_bench(sys.argv[1:]))


def run_bench(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Unknown exceptions pass: they are bugs."""
    # From 1.31 on, ONNX Runtime measures for its maker, in a thread and in files below ~/.cache.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        bench.main(args=list(arguments), prog_name="bench", standalone_mode=False)
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
        # The reader of our output left, as `head` does; keep the interpreter from saying so at exit.
        sys.stdout = None
        return 0
    return 0


def tell_error(error: BenchError) -> int:
    """Print an expected error for a person, and return its exit code."""
    click.echo(f"bench: {error.message}", err=True)
    if error.hint:
        click.echo(error.hint, err=True)
    return error.exit_code
