"""`bench doctor`: whether this machine can build, deploy and measure, and whether boards measure well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from host.cli.options import current_workspace, device_option, format_option, print_json, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from host.readiness.finding import BoardFinding

STATES = {True: "ok", False: "wrong", None: "?"}


@click.command()
@device_option()
@click.option(
    "--fix", "is_fixing", is_flag=True, help="Change what is safe to change, until a run has ended."
)
@click.option("--restore", "is_restoring", is_flag=True, help="Undo what --fix has changed.")
@format_option()
def doctor(device_names: tuple[str, ...], is_fixing: bool, is_restoring: bool, output: str) -> None:
    """Check this machine and its boards, and say how to mend them.

    With --device, list what would make measurements on those boards bad, each with the command that mends it.
    --fix sets governor, power mode and jetson_clocks by `sudo -n`, and they are put back after the next run.
    """
    if device_names or is_fixing or is_restoring:
        examine_boards(device_names, is_fixing, is_restoring, output)
    else:
        examine_host(output)


def examine_host(output: str) -> None:
    from host.checkup import check_host
    from host.errors import GateFailed
    from host.report.listing import print_rows

    findings = check_host(current_workspace())
    if output == "json":
        print_json([finding.model_dump(mode="json") for finding in findings])
    else:
        print_rows(
            "Doctor",
            ("check", "state", "what was found", "what to do"),
            [(item.check, STATES[item.is_fine], item.found, item.advice or "") for item in findings],
        )
    wrong = [item.check for item in findings if not item.is_fine]
    if wrong:
        raise GateFailed(f"{len(wrong)} of {len(findings)} checks failed: {', '.join(wrong)}")


def examine_boards(names: Sequence[str], is_fixing: bool, is_restoring: bool, output: str) -> None:
    from host.errors import DeviceError, GateFailed
    from host.readiness.boards import check_boards, check_words

    change = check_words(names, is_fixing=is_fixing, is_restoring=is_restoring)
    findings, errors = check_boards(names, current_workspace(), change)
    if output == "json":
        print_json([finding.model_dump(mode="json") for finding in findings])
    else:
        show_findings(findings)
    if is_fixing:
        tell_unfixed(findings)
    if errors:
        reasons = "\n".join(str(error) for error in errors.values())
        raise DeviceError(f"{len(errors)} of the boards cannot be looked at:\n{reasons}")
    wrong = [f"{item.device} {item.check}" for item in findings if item.is_fine is False]
    fixable = sorted({item.device for item in findings if item.can_fix})
    if wrong:
        raise GateFailed(
            f"{len(wrong)} of {len(findings)} checks failed: {', '.join(wrong)}",
            " && ".join(f"bench doctor --device {name} --fix" for name in fixable)
            + (" mends what is safe to change." if fixable else "")
            or None,
        )


def tell_unfixed(findings: Sequence[BoardFinding]) -> None:
    """Say which boards --fix has left as they were."""
    fixed = {item.device for item in findings if item.check in ("fix", "reach")}
    for name in dict.fromkeys(item.device for item in findings if item.device not in fixed):
        tell(f"{name}: --fix has changed nothing.")


def show_findings(findings: Sequence[BoardFinding]) -> None:
    """A table for each board, what is wrong first, and below it the commands that mend it."""
    from host.report.cells import clean_text
    from host.report.listing import print_rows

    for name in dict.fromkeys(item.device for item in findings):
        own = [item for item in findings if item.device == name]
        ranked = sorted(own, key=lambda item: (False, None, True).index(item.is_fine))
        print_rows(
            name,
            ("check", "state", "what was found", "what to do"),
            [(item.check, STATES[item.is_fine], item.found, item.advice or "") for item in ranked],
        )
        for item in ranked:
            if item.command and not item.is_fine:
                click.echo(f"  {item.check}:  {clean_text(item.command)}")
    if any(item.check == "fix" and item.is_fine for item in findings):
        tell("What is changed stays until the next run there has ended, a --restore, or the board's restart.")
