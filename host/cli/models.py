"""`bench models`: the recipes that are there, and what one of them says."""

from __future__ import annotations

import click

from host.cli.options import current_workspace, format_option, print_json


@click.group()
def models() -> None:
    """Model recipes: what is trained or loaded, on which data."""


@models.command("list")
@format_option()
def list_models(output: str) -> None:
    """List the recipes of the workspace and those that are shipped."""
    from host.report.listing import print_rows
    from host.specs.library import list_recipes

    recipes = list_recipes(current_workspace())
    if output == "json":
        print_json([{"file": str(path), **recipe.model_dump(mode="json")} for path, recipe in recipes])
        return
    print_rows(
        "Models",
        ("name", "architecture", "data", "input", "description"),
        [
            (
                recipe.name,
                recipe.architecture,
                recipe.data.name,
                "×".join(str(extent) for extent in recipe.input.shape),
                recipe.description,
            )
            for _, recipe in recipes
        ],
    )


@models.command("show")
@click.argument("name")
@format_option()
def show_model(name: str, output: str) -> None:
    """Show one recipe, its defaults filled in."""
    from host.specs.library import load_recipe
    from host.specs.writing import to_yaml

    recipe = load_recipe(current_workspace(), name)
    if output == "json":
        print_json(recipe.model_dump(mode="json"))
    else:
        click.echo(to_yaml(recipe), nl=False)
