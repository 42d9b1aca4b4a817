"""Runs as one HTML page: nothing is loaded from anywhere, and no script runs but its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from markupsafe import Markup

from host.ledger.distributions import SHARES
from host.ledger.reported import ReportedRun
from host.report.cells import clean_text
from host.report.page.axes import list_axes
from host.report.page.comparison_tables import list_tables
from host.report.page.entries import Arranged, arrange, shorten
from host.report.page.measures import MEASURES
from host.report.page.operator_tables import describe_profiles
from host.report.page.payload import write_payload
from host.report.page.provenance import describe_origin, list_moments
from host.report.page.sentences import Choice, choose, explain_flags_of, list_failures, tell_lacks
from host.report.templating import TEMPLATES, load_template
from host.specs.operators import OperatorReport

SCRIPTS = ("page", "table", "chart", "tradeoffs", "latency", "board", "parallel", "start")
"""The parts of the script, in the order in which they rely on each other."""

MOST_COLOURS = 6


def render_report(reported: Sequence[ReportedRun], profiles: Sequence[OperatorReport] = ()) -> str:
    """The page of some runs; equal runs give equal text.

    Whatever a variant, a model, a device or a board is called is shown as text.
    """
    arranged = arrange(reported)
    runs = [one.run for one in reported]
    choices = choose(reported, arranged)
    axes = list_axes(arranged, runs)
    theme, script = _read_script("theme"), "\n".join(map(_read_script, SCRIPTS))
    script = f'"use strict";\n(() => {{\n{script}\n}})();\n'
    rows = [entry.row for entry in arranged.entries]
    page: str = load_template("report.html.j2", plain=clean_text, cut=shorten).render(
        runs=runs,
        arranged=arranged,
        entries=arranged.entries,
        groups=arranged.groups,
        tables=list_tables(arranged),
        choices=choices,
        origins=[(entry, describe_origin(entry)) for entry in arranged.entries],
        failed=list_failures(arranged, "failed"),
        unfit=list_failures(arranged, "unfit"),
        flags=explain_flags_of(arranged),
        lacks=tell_lacks(arranged),
        has={one.key: any(one.read(row) is not None for row in rows) for one in MEASURES},
        samples=sum(entry.shape.n for entry in arranged.entries if entry.shape),
        courses=any(row["power"].get("course") for row in rows),
        sustained=any(row.get("sustained") for row in rows),
        curve_points=len(SHARES),
        states=_find_states(arranged),
        axes=axes,
        profiled=describe_profiles(profiles),
        devices=_distinct(arranged, "device"),
        models=_distinct(arranged, "model"),
        runtimes=_distinct(arranged, "runtime"),
        payload=Markup(write_payload(arranged, axes, choose_picked(arranged, choices))),  # noqa: S704 - escaped there
        theme=Markup(theme),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own files
        hashes=[_hash_script(text) for text in (theme, script)],
    )
    return page


def _read_script(name: str) -> str:
    return (TEMPLATES / "report" / f"{name}.js").read_text(encoding="utf-8")


def _hash_script(text: str) -> str:
    """How a Content-Security-Policy names a script: by nothing but its text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def choose_picked(arranged: Arranged, choices: Sequence[Choice]) -> list[str]:
    """What is coloured at first: dense, the fastest of each group, then other picks and the front."""
    dense = [entry.key for entry in arranged.entries if entry.row["is_baseline"] and entry.shape]
    fastest = [choice.fastest.key for choice in choices if choice.fastest]
    picks = [entry.key for choice in choices for _, entry in choice.picks]
    front = [entry.key for choice in choices for entry in choice.front]
    return list(dict.fromkeys([*dense[:1], *fastest, *picks, *dense, *front]))[:MOST_COLOURS]


def _distinct(arranged: Arranged, name: str) -> list[str]:
    return list(dict.fromkeys(clean_text(entry.row[name]) for entry in arranged.entries))


def _find_states(arranged: Arranged) -> set[str]:
    """What boards told of themselves around the rounds, so that it can be drawn over time."""
    states = [
        state
        for entry in arranged.entries
        for name, state in list_moments(entry.row["environment"])
        if name in ("before", "after") and state.get("time") is not None
    ]
    told = {"temperature": "temperature_c", "clock": "freq_mhz"}
    return {name for name, key in told.items() if any(state.get(key) for state in states)}
