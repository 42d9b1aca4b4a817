"""What was built: quality against dense, cost and sizes side by side, at any width."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from host.report.artifacts import artifact_columns, print_artifacts
from host.report.cells import format_sparsity
from host.specs.artifact import Artifact, Blob


def make_blob(size: int) -> Blob:
    return Blob(path=Path("/cache/x.onnx"), sha256="a" * 64, size=size)


def make_artifact(variant: str = "dense", **changes: Any) -> Artifact:
    return Artifact.model_validate(
        {
            "model": "net",
            "variant": variant,
            "variant_id": variant,
            "blob": make_blob(8 * 2**20),
            "inputs": (),
            "opset": 18,
            "precision": "fp32",
            "params": 2_236_682,
            "params_nonzero": 2_236_682,
            "macs": 6_500_000,
            "sparsity": 0.0,
            "accuracy": 0.98,
            "gzip_bytes": 7 * 2**20,
            "packed": make_blob(3 * 2**19),
            **changes,
        }
    )


PRUNED = {
    "accuracy": 0.965,
    "sparsity": 0.479,
    "sparsity_target": 0.5,
    "params_nonzero": 1_100_000,
    "notes": ("step 4 was rolled back: it cost 3.1 points",),
}


def show(artifacts: list[Artifact], width: int = 120) -> str:
    stream = io.StringIO()
    print_artifacts(artifacts, {"dense"}, Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


def texts(artifacts: list[Artifact], name: str) -> list[str]:
    (column,) = [column for column in artifact_columns(artifacts, {"dense"}) if column.name == name]
    return [cell.text for cell in column.cells]


def test_a_build_tells_quality_cost_and_sizes_of_each_variant() -> None:
    text = show([make_artifact(), make_artifact("weight-l1-50", **PRUNED)])
    (line,) = [line for line in text.splitlines() if line.startswith("weight-l1-50  ")]
    assert line.split() == [
        *("weight-l1-50", "96.5", "(-1.5)", "47.9", "of", "50", "2.24", "M", "1.10", "M", "6.50", "M"),
        *("8.00", "7.00", "1.50"),
    ]
    assert text.splitlines()[-1] == "weight-l1-50: step 4 was rolled back: it cost 3.1 points"


def test_accuracy_is_compared_with_the_dense_variant_of_the_same_model() -> None:
    dense, pruned = make_artifact(), make_artifact("pruned", **PRUNED)
    other = make_artifact("pruned", model="other", accuracy=0.5)
    assert texts([pruned, dense, other], "accuracy") == ["96.5 (-1.5)", "98.0", "50.0"]
    assert texts([pruned, dense, other], "model") == ["net", "net", "other"]
    assert "other pruned: a note" in show([dense, other.model_copy(update={"notes": ("a note",)})])


def test_what_is_not_known_is_a_dash() -> None:
    bare = dict.fromkeys(
        ("params", "params_nonzero", "macs", "sparsity", "accuracy", "gzip_bytes", "packed"), None
    )
    artifacts = [make_artifact(), make_artifact("bare", **bare)]
    names = ("accuracy", "sparsity", "params", "nonzero", "macs", "gzip", "packed")
    assert [texts(artifacts, name)[1] for name in names] == ["-"] * 7
    assert texts(artifacts, "sparsity")[0] == "0.0"


@pytest.mark.parametrize("width", range(40, 130, 10))
def test_no_number_is_cut_at_any_width(width: int) -> None:
    text = show([make_artifact(), make_artifact("channel-l1-50-iterative", **PRUNED)], width)
    lines = [line for line in text.splitlines() if line.startswith(("variant", "dense", "channel-l1"))]
    assert all(cell_len(line.rstrip()) <= width for line in lines[:3])
    assert "96.5 (-1.5)" in text
    assert ("Left out for want of width:" in text) == ("nonzero" not in lines[0]) == (width < 120)


def test_nothing_built_is_said() -> None:
    assert show([]) == "Built: none\n"


@pytest.mark.parametrize(
    ("reached", "asked", "told"),
    [
        (None, None, "-"),
        (None, 0.5, "-"),
        (0.0, None, "0.0"),
        (0.5, 0.5, "50.0"),
        (0.501, 0.5, "50.1"),  # just 0.1 point, which in binary is a little more
        (0.5011, 0.5, "50.1 of 50"),
        (0.479, 0.5, "47.9 of 50"),
        (0.3, 0.625, "30.0 of 62.5"),
    ],
)
def test_a_sparsity_names_its_target_where_it_is_more_than_a_tenth_of_a_point_away(
    reached: float | None, asked: float | None, told: str
) -> None:
    assert format_sparsity(reached, asked) == told
