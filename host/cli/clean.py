"""`bench clean`: room on boards, or in this workspace's cache."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from host.cli.options import current_workspace, device_option, format_option, ledger_option, print_json, tell

if TYPE_CHECKING:
    from host.specs.cleaning import Cleaned, Terms

BOARD_BYTES = "2GB"
CACHE_AGE = "30d"


def read_quantity(kind: str) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """A callback that reads a size or an age."""

    def read(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Any:
        from host.specs import cleaning

        parse = {"size": cleaning.parse_size, "age": cleaning.parse_age}[kind]
        try:
            return None if text is None else parse(text)
        except ValueError as error:
            raise click.BadParameter(f"{error}.") from error

    return read


@click.command()
@device_option()
@click.option(
    "--keep",
    "keep_bytes",
    metavar="SIZE",
    callback=read_quantity("size"),
    help="How much may stay: 2GB, 500MB, 0.",
)
@click.option(
    "--older-than",
    "older_s",
    metavar="AGE",
    callback=read_quantity("age"),
    help="What nobody has used for 30d, 12h.",
)
@click.option(
    "--abandoned",
    is_flag=True,
    help="Also runs on the board whose results are not in this ledger: they are lost.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed; remove nothing.")
@click.option("--yes", is_flag=True, help="Remove from this machine's cache without asking.")
@format_option()
@ledger_option
def clean(
    device_names: tuple[str, ...],
    keep_bytes: int | None,
    older_s: float | None,
    abandoned: bool,
    dry_run: bool,
    yes: bool,
    output: str,
    ledger_url: str | None,
) -> None:
    """Make room on devices, or in this workspace's cache.

    Without --device it is the cache, and what was not used for 30 days goes. On a board it is files,
    packages, agents, engines and runs, longest unused first, until 2GB are left; nothing that a run needs
    which is not over, or whose results are not here yet. All of it is sent, or built, again when it is
    needed.
    """
    from host.errors import DeviceError, UsageError
    from host.specs.cleaning import Terms, parse_age, parse_size

    if keep_bytes is not None and older_s is not None:
        raise UsageError("--keep and --older-than exclude each other", "Leave one of them out.")
    if abandoned and not device_names:
        raise UsageError("--abandoned is about runs on boards", "Name one with --device.")
    if keep_bytes is None and older_s is None:
        keep_bytes, older_s = (
            (parse_size(BOARD_BYTES), None) if device_names else (None, parse_age(CACHE_AGE))
        )
    terms = Terms(keep_bytes=keep_bytes, older_s=older_s, takes_abandoned=abandoned, is_dry=dry_run)
    if not device_names:
        show_cleaned([clean_own(terms, is_sure=yes, output=output)], output)
        return
    from host.cleaning import clean_devices
    from host.ledger.store import Ledger

    workspace = current_workspace()
    with Ledger.open(ledger_url or workspace.ledger_url) as ledger:
        done, errors = clean_devices(device_names, terms, workspace, ledger)
    show_cleaned(done, output)
    if errors:
        reasons = "\n".join(str(error) for error in errors.values())
        raise DeviceError(f"{len(errors)} of the devices were not cleaned:\n{reasons}")


def clean_own(terms: Terms, *, is_sure: bool, output: str) -> Cleaned:
    """Clean the cache. Somebody at a terminal is asked first, and without a yes nothing is removed."""
    from host.cache import clean_cache

    workspace = current_workspace()
    would = clean_cache(workspace, terms.model_copy(update={"is_dry": True}))
    if terms.is_dry or not would.removed_count:
        return would.model_copy(update={"is_dry": terms.is_dry})
    if not is_sure and not (sys.stdin.isatty() and output == "table"):
        tell("nothing is removed without --yes")
        return would
    if not is_sure:
        tell(f"{would.removed_count} files, {show_size(would.freed_bytes)}, in {workspace.cache}")
        if not click.confirm("Remove them?", err=True):
            return would
    return clean_cache(workspace, terms)


def show_cleaned(done: Sequence[Cleaned], output: str) -> None:
    """Each kind of thing that is gone, and what is left."""
    from host.report.listing import print_rows

    if output == "json":
        print_json([item.model_dump(mode="json") for item in done])
        return
    rows = [(item.device or "this machine", *row) for item in done for row in count_kinds(item)]
    if rows:
        print_rows("Would remove" if done[0].is_dry else "Removed", ("where", "what", "count", "size"), rows)
    for item in done:
        tell(describe_cleaned(item))


def count_kinds(item: Cleaned) -> list[tuple[str, str, str]]:
    counts, sizes = Counter[str](), Counter[str]()
    for removed in item.removed:
        counts[removed.kind] += 1
        sizes[removed.kind] += removed.bytes
    return [(kind, str(counts[kind]), show_size(sizes[kind])) for kind in counts]


def describe_cleaned(item: Cleaned) -> str:
    """One sentence on what is left, and one on what holds it."""
    freed = f"{show_size(item.freed_bytes)} {'would be freed' if item.is_dry else 'freed'}"
    needed = f", {show_size(item.needed_bytes)} of them needed" if item.needed_bytes else ""
    line = f"{item.device or 'this machine'}: {freed}, {show_size(item.kept_bytes)} stay{needed}; "
    line += f"{show_size(item.free_bytes)} of the disk are free"
    if item.unfetched_runs:
        names = ", ".join(item.unfetched_runs[:5]) + (", …" if len(item.unfetched_runs) > 5 else "")
        line += f"\nkept for runs whose results are not here: {names} (--abandoned gives them up)"
    return line


def show_size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
