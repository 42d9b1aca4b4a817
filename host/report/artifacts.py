"""What was built, as a table: how good each variant is on the host, what it costs, how large it is."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from itertools import accumulate

from rich.console import Console

from host.picks import Picks, pick_builds
from host.report.cells import clean_text, format_accuracy, format_count, format_sparsity
from host.report.exporting import open_console
from host.report.figures import Column, drop_columns, make_column, size_columns
from host.report.table import columns_width, print_lines, print_part, tell_dropped
from host.specs.artifact import Artifact

DROP_ORDER = ("nonzero", "macs", "gzip", "params", "packed", "sparsity", "size")


def print_artifacts(
    artifacts: Sequence[Artifact],
    baselines: Collection[str] = (),
    console: Console | None = None,
    min_accuracy: float | None = None,
) -> None:
    """Print what was built, what each build noted, and three picks of what is not below `min_accuracy`.

    `baselines` are the ids of dense variants. Accuracy has its change in points against the first of the
    same model.
    """
    shown = console or open_console(sys.stdout)
    if not artifacts:
        print_lines(shown, ["Built: none"], "")
        return
    columns = artifact_columns(artifacts, baselines)
    choices = accumulate(((name,) for name in DROP_ORDER), initial=())
    fitting = (names for names in choices if columns_width(drop_columns(columns, names)) <= shown.width)
    dropped = next(fitting, DROP_ORDER)
    print_part(shown, "Built", drop_columns(columns, dropped))
    print_lines(shown, tell_dropped(column for column in columns if column.name in dropped), "dim")
    several = len({artifact.model for artifact in artifacts}) > 1
    for artifact in artifacts:
        name = f"{artifact.model} {artifact.variant}" if several else artifact.variant
        print_lines(shown, [f"{clean_text(name)}: {clean_text(note)}" for note in artifact.notes], "")
    for model in dict.fromkeys(artifact.model for artifact in artifacts):
        own = [artifact for artifact in artifacts if artifact.model == model]
        picks = pick_builds(own, baselines, min_accuracy)
        if picks is not None:
            print_lines(
                shown, [f"{clean_text(model)}: {_tell_picks(picks)}" if several else _tell_picks(picks)], ""
            )


def _tell_picks(picks: Picks) -> str:
    accurate, smallest, balanced = (clean_text(artifact.variant) for artifact in picks)
    return f"Best accuracy {accurate}; best compression {smallest}; best balance {balanced}."


def artifact_columns(artifacts: Sequence[Artifact], baselines: Collection[str]) -> list[Column]:
    """The columns of the table, all of them, a cell for each artifact."""
    columns = [make_column("variant", "variant", [clean_text(item.variant) for item in artifacts], "left")]
    if len({item.model for item in artifacts}) > 1:
        columns.append(make_column("model", "model", [clean_text(item.model) for item in artifacts], "left"))
    sizes = [
        {
            "file_bytes": item.blob.size,
            "gzip_bytes": item.gzip_bytes,
            "packed_bytes": item.packed.size if item.packed else None,
        }
        for item in artifacts
    ]
    return [
        *columns,
        make_column("accuracy", "accuracy %", _tell_accuracies(artifacts, baselines)),
        make_column(
            "sparsity", "sparsity %", [format_sparsity(i.sparsity, i.sparsity_target) for i in artifacts]
        ),
        make_column("params", "params", [format_count(item.params) for item in artifacts]),
        make_column("nonzero", "nonzero", [format_count(item.params_nonzero) for item in artifacts]),
        make_column("macs", "MACs", [format_count(item.macs) for item in artifacts]),
        *size_columns(sizes),
    ]


def _tell_accuracies(artifacts: Sequence[Artifact], baselines: Collection[str]) -> list[str]:
    dense: dict[str, float] = {}
    for item in artifacts:
        if item.variant_id in baselines and item.accuracy is not None:
            dense.setdefault(item.model, item.accuracy)
    return [
        _tell_accuracy(item, None if item.variant_id in baselines else dense.get(item.model))
        for item in artifacts
    ]


def _tell_accuracy(artifact: Artifact, dense: float | None) -> str:
    """In percent, with the change in points where there is a baseline that is not the variant itself."""
    if artifact.accuracy is None or dense is None:
        return format_accuracy(artifact.accuracy, None)
    return format_accuracy(artifact.accuracy, 100 * (artifact.accuracy - dense))
