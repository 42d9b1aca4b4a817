"""`bench analyze` from a built workspace to its files, and what it says where it cannot."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from host.cli.main import run_bench
from host.specs.analysis import Analysis
from tests.bench_command import bench
from tests.tiny_workspace import RECIPE, make_tiny_workspace

PROFILE = """\
name: tiny
model: tiny
variants:
  - {}
  - prune: {granularity: channel, criterion: l2, sparsity: 0.5, round_to: 4}
    quantize: {scheme: static-int8}
  - prune: {granularity: weight, sparsity: 0.5}
"""
LABEL = "channel-l2-50+int8"
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace where the dense model and a pruned one in int8 are built, and a third variant is not."""
    root = make_tiny_workspace(tmp_path_factory.mktemp("analyzed"))
    (root / "profiles" / "tiny.yaml").write_text(PROFILE)
    (root / "models" / "tiny.yaml").write_text(RECIPE.replace("epochs: 6", "epochs: 2"))
    bench(root, "build", "--profile", "tiny", "--variant", "dense", "--variant", LABEL)
    return root


@pytest.fixture
def workspace(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "copy"
    shutil.copytree(built, root)
    monkeypatch.chdir(root)
    return root


def test_a_variant_becomes_a_page_numbers_and_a_summary(workspace: Path, capsys: Captured) -> None:
    assert run_bench(["analyze", LABEL, "--profile", "tiny"]) == 0
    told = capsys.readouterr()
    page = workspace / "results" / f"analysis-tiny-{LABEL}.html"
    assert f"Page: {page}" in told.out
    assert "tiny channel-l2-50+int8: accuracy" in told.out
    assert "Against dense" in told.out
    assert page.read_text().startswith("<!doctype html>")
    analysis = Analysis.model_validate_json(page.with_suffix(".json").read_text())
    quality = analysis.variant.quality
    assert quality.images == 360
    assert analysis.dense is not None
    assert analysis.changes is not None
    change = analysis.variant.quality.accuracy - analysis.dense.quality.accuracy
    assert analysis.changes.accuracy_change == pytest.approx(change)
    assert analysis.variant.first_filters is not None
    assert analysis.dense.first_filters is not None
    assert (analysis.variant.first_filters.count, analysis.dense.first_filters.count) == (8, 16)
    assert sum(map(sum, quality.confusion or ())) == 360
    files = {path.name for path in page.parent.iterdir() if path.name.startswith("analysis")}
    assert files == {page.name, page.with_suffix(".json").name}


def test_without_a_profile_the_one_is_found_that_has_the_built_variant(
    workspace: Path, capsys: Captured
) -> None:
    assert run_bench(["analyze", LABEL, "-o", "named.html", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["variant"]["variant"] == LABEL
    assert run_bench(["analyze", "weight-l1-50"]) == 2
    assert "no built variant is called 'weight-l1-50'" in capsys.readouterr().err


def test_accuracy_is_what_the_build_found(workspace: Path, capsys: Captured) -> None:
    artifacts = json.loads(
        bench(workspace, "build", "--profile", "tiny", "--variant", LABEL, "--format", "json")
    )
    assert run_bench(["analyze", LABEL, "--profile", "tiny", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["variant"]["quality"]["accuracy"] == pytest.approx(artifacts[0]["accuracy"])


def test_json_stands_alone_and_is_what_the_file_holds(workspace: Path, capsys: Captured) -> None:
    assert run_bench(["analyze", "dense", "--profile", "tiny", "-o", "page.html", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((workspace / "page.json").read_text())
    assert (workspace / "page.html").is_file()
    assert (found["dense"], found["changes"], found["is_dense"]) == (None, None, True)


def test_dense_is_compared_with_though_the_profile_leaves_it_out(workspace: Path, capsys: Captured) -> None:
    path = workspace / "profiles" / "tiny.yaml"
    path.write_text(path.read_text().replace("  - {}\n", ""))
    assert run_bench(["analyze", LABEL, "--profile", "tiny", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["dense"]["variant"] == "dense"


def test_a_variant_that_is_not_built_is_told_with_the_command_that_builds_it(
    workspace: Path, capsys: Captured
) -> None:
    assert run_bench(["analyze", "weight-l1-50", "--profile", "tiny"]) == 2
    told = capsys.readouterr().err
    assert "tiny weight-l1-50 is not built" in told
    assert "bench build --profile tiny --variant weight-l1-50" in told
    assert not list(workspace.glob("results/*.html"))


def test_an_unknown_variant_offers_the_nearest(workspace: Path, capsys: Captured) -> None:
    assert run_bench(["analyze", "channel-l2-50+int", "--profile", "tiny"]) == 2
    assert f"Did you mean {LABEL}" in capsys.readouterr().err


def test_an_unknown_model_offers_the_nearest(workspace: Path, capsys: Captured) -> None:
    assert run_bench(["analyze", LABEL, "--profile", "tiny", "--model", "tinny"]) == 2
    assert "Did you mean tiny" in capsys.readouterr().err


def test_a_variant_of_several_models_asks_for_the_model(workspace: Path, capsys: Captured) -> None:
    (workspace / "models" / "other.yaml").write_text(RECIPE.replace("name: tiny", "name: other"))
    path = workspace / "profiles" / "tiny.yaml"
    path.write_text(path.read_text().replace("model: tiny", "model: [tiny, other]"))
    assert run_bench(["analyze", LABEL, "--profile", "tiny"]) == 2
    assert "--model" in capsys.readouterr().err
    assert run_bench(["analyze", LABEL, "--profile", "tiny", "--model", "tiny"]) == 0


def test_a_page_needs_a_name_of_a_page(workspace: Path, capsys: Captured) -> None:
    assert run_bench(["analyze", LABEL, "--profile", "tiny", "-o", "page.json"]) == 2
    assert "page.html" in capsys.readouterr().err


def test_analyzing_needs_no_torch(workspace: Path) -> None:
    program = (
        "import sys; from host.cli.main import run_bench; "
        "code = run_bench(['analyze', 'dense', '--profile', 'tiny', '--format', 'json']); "
        "print(code, 'torch' in sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=workspace,
        env={"PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stderr.splitlines()[-1] == "0 False"
