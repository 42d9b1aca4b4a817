"""`bench doctor`: whether this machine can build, deploy and measure."""

from __future__ import annotations

import click

from host.cli.options import current_workspace, format_option, print_json


@click.command()
@format_option()
def doctor(output: str) -> None:
    """Check this machine and its boards, and say how to mend them."""
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
            [
                (item.check, "ok" if item.is_fine else "wrong", item.found, item.advice or "")
                for item in findings
            ],
        )
    wrong = [item.check for item in findings if not item.is_fine]
    if wrong:
        raise GateFailed(f"{len(wrong)} of {len(findings)} checks failed: {', '.join(wrong)}")
