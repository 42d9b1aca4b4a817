"""`bench profiles`: the sweeps that are there, what one asks for, and whether a file is right."""

from __future__ import annotations

import click

from host.cli.options import current_workspace, format_option, print_json, tell


@click.group()
def profiles() -> None:
    """Sweep profiles: which variants of which models run where."""


@profiles.command("list")
@format_option()
def list_profiles(output: str) -> None:
    """List the profiles of the workspace and those that are shipped."""
    from host.report.listing import print_rows
    from host.specs.library import list_profiles as read_profiles

    found = read_profiles(current_workspace())
    if output == "json":
        print_json([{"file": str(path), **profile.model_dump(mode="json")} for path, profile in found])
        return
    print_rows(
        "Profiles",
        ("name", "models", "variants", "runtimes", "measure", "description"),
        [
            (
                profile.name,
                ", ".join(profile.model),
                str(len(profile.variants)),
                str(len(profile.runtimes)),
                profile.measure.preset,
                profile.description,
            )
            for _, profile in found
        ],
    )


@profiles.command("show")
@click.argument("name")
@format_option()
def show_profile(name: str, output: str) -> None:
    """Show one profile, its axes expanded, its defaults filled in."""
    from host.specs.library import load_profile
    from host.specs.writing import to_yaml

    profile = load_profile(current_workspace(), name)
    if output == "json":
        print_json(profile.model_dump(mode="json"))
    else:
        click.echo(to_yaml(profile), nl=False)


@profiles.command("validate")
@click.argument("names", nargs=-1, metavar="[NAME|FILE]...")
@format_option()
def validate_profiles(names: tuple[str, ...], output: str) -> None:
    """Check profiles and say everything that is wrong at once.

    All profiles, unless some are named.
    """
    from host.errors import SpecError, UsageError
    from host.specs.library import load_profile, load_recipes

    workspace = current_workspace()
    faults: dict[str, list[str]] = {}
    for name in names or tuple(workspace.find_files("profiles")):
        try:
            load_recipes(workspace, load_profile(workspace, name).model)
            faults[name] = []
        except SpecError as error:
            faults[name] = [f"{error.source}: {fault}" for fault in error.faults]
        except UsageError as error:  # neither the profile nor a model that it names is there
            faults[name] = [" ".join(f"{name}: {error}".split())]
    if output == "json":
        print_json([{"profile": name, "faults": found} for name, found in faults.items()])
    for name in (name for name, found in faults.items() if not found):
        tell(f"{name}: fine")
    if wrong := [fault for found in faults.values() for fault in found]:
        raise SpecError("profiles", wrong)


@profiles.command("schema")
@click.option(
    "--of",
    "kind",
    type=click.Choice(["profile", "recipe", "devices"]),
    default="profile",
    show_default=True,
    help="Of which kind of file.",
)
@click.option(
    "--format",
    "output",
    type=click.Choice(["json", "markdown"]),
    default="json",
    show_default=True,
    help="A JSON Schema, or the reference of all kinds of files for people.",
)
def print_schema(kind: str, output: str) -> None:
    """Print a JSON Schema, by which editors complete and check files.

    Begin a file with `# yaml-language-server: $schema=PATH`, where PATH is what you saved it as.
    """
    from host.specs.reference import make_reference
    from host.specs.schema import make_schema

    if output == "markdown":
        click.echo(make_reference(), nl=False)
    else:
        print_json(make_schema(kind))
