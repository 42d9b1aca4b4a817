"""The profiles that come with boardbench: what each promises, settled without a board."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.plan import Plan, plan_sweep, tell_left_out
from host.specs.library import load_profile, load_recipes
from host.specs.profile import DeviceChoice, Profile
from host.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("pi4", "pi5", "jetson-trt", "jetson-ort", "x86-runtimes")


def load(name: str, workspace: Workspace) -> tuple[Profile, Plan]:
    profile = load_profile(workspace, name)
    recipes = load_recipes(workspace, profile.model)
    return profile, plan_sweep(profile, recipes, ["board"], {recipe.name: "" for recipe in recipes})


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_profile_needs_no_download_and_has_a_baseline_for_every_runtime(
    name: str, workspace: Workspace
) -> None:
    profile, plan = load(name, workspace)
    recipes = load_recipes(workspace, profile.model)
    assert {recipe.data.name for recipe in recipes if recipe.data} == {"digits"}
    assert not any(recipe.pretrained for recipe in recipes)
    baselines = {task.runtime for task in plan.tasks if task.is_baseline}
    assert baselines == {task.runtime for task in plan.tasks} == set(profile.runtimes)
    assert profile.description


@pytest.mark.parametrize(
    ("name", "label", "target"),
    [
        ("pi4", "pi4", "arm64"),
        ("pi5", "pi5", "arm64"),
        ("jetson-trt", "jetson", "tensorrt"),
        ("jetson-ort", "jetson", "tensorrt"),
    ],
)
def test_a_board_is_found_by_its_label_and_gets_the_int8_that_it_runs_fastest(
    name: str, label: str, target: str, workspace: Workspace
) -> None:
    profile, _ = load(name, workspace)
    assert profile.devices == (DeviceChoice(labels=(label,)),)
    static = [one.quantize for one in profile.variants if one.quantize and one.quantize.scheme != "fp16"]
    assert {quantize.target for quantize in static} == {target}
    assert all(quantize.effective_activation == "int8" for quantize in static)


def test_jetson_trt_puts_three_precisions_with_and_without_pruning_on_tensorrt_twice(
    workspace: Workspace,
) -> None:
    profile, plan = load("jetson-trt", workspace)
    told = {(variant.prune is not None, variant.precision) for variant in profile.variants}
    assert told == {(is_pruned, kind) for is_pruned in (False, True) for kind in ("fp32", "fp16", "int8")}
    assert [(one.name, one.provider, one.optional) for one in profile.runtimes] == [
        ("tensorrt", "GPU", False),
        ("onnxruntime", "TensorrtExecutionProvider", True),
    ]
    assert plan.left_out == ()


def test_jetson_ort_shares_its_files_with_jetson_trt(workspace: Workspace) -> None:
    ours, theirs = (load(name, workspace)[1].variants for name in ("jetson-ort", "jetson-trt"))
    assert {item.id for item in ours} == {item.id for item in theirs}


def test_x86_runtimes_shares_its_files_with_x86_emulated(workspace: Workspace) -> None:
    ours, theirs = (load(name, workspace)[1].variants for name in ("x86-runtimes", "x86-emulated"))
    assert {item.id for item in ours} < {item.id for item in theirs}


def test_x86_runtimes_leaves_int8_of_ncnn_out_and_says_so(workspace: Workspace) -> None:
    _, plan = load("x86-runtimes", workspace)
    assert len(plan.tasks) == 10
    (said,) = tell_left_out(plan.left_out)
    assert said.startswith("ncnn leaves out int8, channel-l2-50+int8: it takes float32 models")


@pytest.mark.parametrize("name", ["pi4", "pi5"])
def test_a_pi_with_nothing_but_onnxruntime_is_still_measured(name: str, workspace: Workspace) -> None:
    profile, _ = load(name, workspace)
    assert {one.name for one in profile.runtimes if not one.optional} == {"onnxruntime"}
    assert {one.name for one in profile.runtimes} == {"onnxruntime", "openvino", "ncnn"}
    assert {one.threads for one in profile.runtimes} == {1, 4}
