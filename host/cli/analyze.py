"""`bench analyze`: where a variant is right and wrong, as a page, as data and in a few words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from host.cli.options import current_workspace, print_json, profile_option, tell

if TYPE_CHECKING:
    from host.specs.analysis import Analysis


@click.command()
@click.argument("variant")
@profile_option(required=False)
@click.option("--model", metavar="M", help="The model, where several of the profile have this variant.")
@click.option(
    "--output",
    "-o",
    "file",
    metavar="FILE.html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page; its numbers go to a .json beside it. Default: results/analysis-MODEL-VARIANT.html.",
)
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print the answer.",
)
def analyze(
    variant: str, profile_name: str | None, model: str | None, file: Path | None, output: str
) -> None:
    """Show where a built variant is right and wrong.

    VARIANT is what `bench build` calls it, such as channel-l2-50+int8. It is compared with the dense model
    where that is built too. Without --profile, the profile is taken that has a built variant of this name.
    """
    from host.analyzing import analyze as find
    from host.report.analysis_page import render_page
    from host.report.analysis_summary import print_analysis
    from host.report.live import LiveProgress
    from host.report.output import open_text

    check_page(file)
    workspace = current_workspace()
    with LiveProgress() as progress:
        findings = find(variant, profile_name, model, workspace, progress)
    if file is None:
        workspace.results.mkdir(parents=True, exist_ok=True)
    page = file or workspace.results / name_page(findings.analysis)
    numbers = page.with_suffix(".json")
    document = findings.analysis.model_dump(mode="json")
    with open_text(page) as stream:
        stream.write(render_page(findings, numbers.name))
    with open_text(numbers) as stream:
        stream.write(write_document(document))
    if output == "json":
        print_json(document)
        tell(f"page: {page}")
    else:
        print_analysis(findings.analysis, page)


def check_page(file: Path | None) -> None:
    """Raise UsageError where the page would take the place of its own numbers, or of anything else."""
    from host.errors import UsageError

    if file is not None and file.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{file} is no name for a page", f"Such as: --output {file.stem or 'page'}.html")


def name_page(analysis: Analysis) -> str:
    """A file's name that is safe in a shell, in a link and on any file system."""
    return re.sub(
        r"[^\w.+-]", "-", f"analysis-{analysis.model}-{analysis.variant.variant}.html", flags=re.ASCII
    )


def write_document(document: dict[str, Any]) -> str:
    """The JSON of an analysis, a key to a line."""
    import json

    lines = (
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for key, value in document.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"
