"""Pruning in several steps as a build does it: kept, resumed, rolled back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from host.compress.building import build_variants
from host.progress import Silent
from host.specs.artifact import Artifact
from tests.tiny_plans import Watched, make_recipe, plan_variants

HERE = Path(__file__).parent
STEPS: dict[str, Any] = {"schedule": "iterative", "steps": 3, "finetune": {"epochs": 2}}
WEIGHTS = {"prune": {"granularity": "weight", "sparsity": 0.8, **STEPS}}
CHANNELS = {"prune": {"granularity": "channel", "sparsity": 0.5, "round_to": 2, **STEPS}}


@pytest.fixture(autouse=True)
def _beside_the_factories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)


def build(cache: Path, variant: dict[str, Any], progress: Any = None) -> Artifact:
    (artifact,) = build_variants(plan_variants(make_recipe(), variant), cache, 20, progress or Silent())
    return artifact


@pytest.mark.parametrize(("variant", "reached"), [(WEIGHTS, 0.8), (CHANNELS, 0.5)])
def test_each_step_is_told_and_the_last_one_reaches_the_target(
    tmp_path: Path, variant: dict[str, Any], reached: float
) -> None:
    artifact = build(tmp_path, variant)
    assert artifact.sparsity == pytest.approx(reached, abs=0.001)
    assert len(artifact.steps) == 3
    sparsities = [step.sparsity for step in artifact.steps]
    assert sparsities == sorted(sparsities)
    assert sparsities[-1] == artifact.sparsity
    assert artifact.steps[-1].params_nonzero == artifact.params_nonzero
    assert artifact.steps[-1].accuracy == pytest.approx(artifact.accuracy, abs=0.003)
    assert all(step.is_kept for step in artifact.steps)


def test_masks_hold_through_every_fine_tuning(tmp_path: Path) -> None:
    artifact = build(tmp_path, WEIGHTS)
    tensors = onnx.load(artifact.blob.path).graph.initializer
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in tensors if len(tensor.dims) >= 2]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    assert zeros / sum(weight.size for weight in weights) == pytest.approx(0.8, abs=0.001)


@pytest.mark.parametrize("variant", [WEIGHTS, CHANNELS])
def test_a_build_interrupted_between_steps_goes_on_there_and_ends_alike(
    tmp_path: Path, variant: dict[str, Any]
) -> None:
    planned = plan_variants(make_recipe(), variant)
    broken = Watched(broken=f"fine-tuning tiny {planned[0].label} (step 2")
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "cut", variant, broken)
    after = Watched()
    resumed = build(tmp_path / "cut", variant, after)
    assert [told.split()[0] for told in after.tracked[:1]] == ["fine-tuning"]
    assert "(step 2 of 3)" in after.tracked[0]
    assert sum(told.startswith("fine-tuning") for told in after.tracked) == 2
    assert resumed.blob.sha256 == build(tmp_path / "whole", variant).blob.sha256


def test_a_step_that_costs_too_much_is_rolled_back_and_said(tmp_path: Path) -> None:
    prune = {
        "granularity": "weight",
        "criterion": "random",
        "sparsity": 0.99,
        "schedule": "iterative",
        "steps": 4,
        "max_accuracy_drop": 0.1,
    }
    progress = Watched()
    artifact = build(tmp_path, {"prune": prune}, progress)
    *kept, last = artifact.steps
    assert not last.is_kept
    assert all(step.is_kept for step in kept)
    assert artifact.sparsity == (kept[-1].sparsity if kept else 0.0)
    assert artifact.sparsity_target == 0.99
    assert artifact.notes[0] in progress.said[0]
    assert "went back to" in artifact.notes[0]
    dense = build(tmp_path, {})
    assert artifact.accuracy is not None
    assert dense.accuracy is not None
    assert artifact.accuracy >= dense.accuracy - 0.1
    assert last.accuracy < dense.accuracy - 0.1


def test_a_limit_that_is_kept_changes_nothing(tmp_path: Path) -> None:
    limited = {"prune": {**WEIGHTS["prune"], "max_accuracy_drop": 0.9}}
    free, kept = build(tmp_path, WEIGHTS), build(tmp_path, limited)
    assert (kept.blob.sha256, kept.notes) == (free.blob.sha256, ())


def test_one_step_with_a_limit_goes_back_to_the_dense_model(tmp_path: Path) -> None:
    prune = {"granularity": "channel", "sparsity": 0.9, "round_to": 1, "max_accuracy_drop": 0.0}
    artifact = build(tmp_path, {"prune": prune})
    dense = build(tmp_path, {})
    assert (artifact.sparsity, artifact.params, artifact.macs) == (0.0, dense.params, dense.macs)
    assert "went back to the dense model" in artifact.notes[0]


def test_what_the_dense_model_teaches_changes_the_weights(tmp_path: Path) -> None:
    taught = {"prune": {**WEIGHTS["prune"], "finetune": {"epochs": 2, "distill": {"weight": 0.9}}}}
    one, other = build(tmp_path, WEIGHTS), build(tmp_path, taught)
    assert one.blob.sha256 != other.blob.sha256
    assert np.isfinite(other.accuracy or np.nan)


def test_validation_images_decide_where_the_recipe_keeps_some(tmp_path: Path) -> None:
    recipe = make_recipe(data={"name": "digits", "validation_fraction": 0.3})
    (artifact,) = build_variants(plan_variants(recipe, WEIGHTS), tmp_path, 20, Silent())
    held = round(1437 * 0.3)
    shares = [step.accuracy * held for step in artifact.steps]
    assert shares == pytest.approx([round(share) for share in shares], abs=0.51)
    assert shares == pytest.approx([round(share * 432 / held) * held / 432 for share in shares], abs=1e-6)
