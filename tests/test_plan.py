"""A profile becomes tasks: each once, with ids that say when bytes are equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.compress.onnx_files import read_onnx
from host.errors import UsageError
from host.plan import (
    Plan,
    digest,
    estimate_device_seconds,
    narrow_plan,
    plan_file,
    plan_sweep,
    plan_task,
    runtimes_of,
    tell_left_out,
)
from host.specs.measure import Measure
from host.specs.profile import Profile, RuntimeSettings, parse_profile
from host.specs.recipe import Recipe
from tests.agent_board import make_model

RECIPE = Recipe.model_validate(
    {
        "name": "m",
        "architecture": "torchvision:mobilenet_v2",
        "data": {"name": "digits"},
        "input": {"shape": (3, 32, 32)},
        "training": {"epochs": 1},
    }
)
PRUNE = {"granularity": "weight", "criterion": "l1", "sparsity": [0.3, 0.5]}


def profile(**changes: object) -> Profile:
    document = {"name": "p", "model": "m", "variants": [{}, {"prune": PRUNE}], "measure": "quick"}
    return parse_profile({**document, **changes})


def plan(devices: tuple[str, ...] = ("a", "b"), origin: object = "1", recipe: Recipe = RECIPE) -> Plan:
    return plan_sweep(profile(), [recipe], devices, {"m": origin})


def test_every_variant_is_measured_on_every_device_once() -> None:
    made = plan()
    assert len(made.variants) == 3
    assert len({task.id for task in made.tasks}) == 6
    assert [task.label for task in made.tasks_of("b")] == ["dense", "weight-l1-30", "weight-l1-50"]


def test_equal_wishes_have_equal_ids() -> None:
    assert plan() == plan()


def test_another_device_changes_no_variant() -> None:
    assert plan(("a",)).variants == plan(("b",)).variants


def test_what_decides_the_bytes_decides_the_id() -> None:
    ids = {item.id for item in plan().variants}
    newer = plan(origin="2")
    other = plan(recipe=RECIPE.model_copy(update={"arguments": {"width_mult": 0.5}}))
    assert ids.isdisjoint(item.id for item in newer.variants)
    assert ids.isdisjoint(item.id for item in other.variants)


def test_what_a_recipe_is_called_does_not_decide_the_id() -> None:
    told = plan(recipe=RECIPE.model_copy(update={"description": "other words"}))
    assert [item.id for item in told.variants] == [item.id for item in plan().variants]


def test_variants_that_share_a_label_are_told_apart() -> None:
    twins = [{"prune": {**PRUNE, "sparsity": 0.5, "finetune": {"epochs": [1, 2]}}}]
    made = plan_sweep(profile(variants=twins), [RECIPE], ["a"], {"m": ""})
    labels = [item.label for item in made.variants]
    assert len(set(labels)) == 2
    assert all(label.startswith("weight-l1-50#") for label in labels)


def test_a_plan_can_be_narrowed_to_some_variants() -> None:
    narrow = narrow_plan(plan(), ["weight-l1-50"])
    assert [item.label for item in narrow.variants] == ["weight-l1-50"]
    assert {task.label for task in narrow.tasks} == {"weight-l1-50"}
    assert narrow_plan(plan(), []) == plan()
    with pytest.raises(UsageError, match="there is no variant 'weight-l1-40'"):
        narrow_plan(plan(), ["weight-l1-40"])


def test_a_plan_survives_its_json() -> None:
    made = plan()
    assert Plan.model_validate_json(made.model_dump_json()) == made


def test_measuring_takes_at_least_its_rounds() -> None:
    made = plan()
    floor = 3 * made.measure.rounds * made.measure.round_s
    assert estimate_device_seconds(made, "a") > floor


SETTINGS: dict[str, object] = {"name": "onnxruntime", "provider": "CPUExecutionProvider"}


def task_id(**runtime: object) -> str:
    settings = RuntimeSettings.model_validate(runtime)
    return plan_task("pi4", "m", "0" * 16, "dense", True, settings).id


def test_a_setting_that_nobody_has_made_leaves_the_id_of_a_task_as_it_was() -> None:
    # What the first release gave this task: a ledger may hold it.
    identity = {"device": "pi4", "variant": "0" * 16, "runtime": {**SETTINGS, "threads": None, "batch": 1}}
    assert task_id() == digest(identity)


def test_every_setting_that_decides_a_measurement_decides_its_id() -> None:
    ids = [
        task_id(),
        task_id(spinning=False),
        task_id(spinning=True),
        task_id(arena=False),
        task_id(name="openvino"),
        task_id(name="openvino", inference_precision="f16"),
        task_id(name="ncnn"),
        task_id(name="tensorrt"),
    ]
    assert len(set(ids)) == len(ids)
    assert task_id(optional=True) == task_id()


def plan_runtimes(variants: list[object], runtimes: list[object]) -> Plan:
    return plan_sweep(profile(variants=variants, runtimes=runtimes), [RECIPE], ["a"], {"m": ""})


def test_what_no_board_can_run_is_left_out_of_the_plan_and_said_once() -> None:
    variants: list[object] = [{}, {"quantize": [{"scheme": "static-int8"}, {"scheme": "fp16"}]}]
    made = plan_runtimes(variants, [{"name": ["onnxruntime", "ncnn"], "threads": [1, 4]}])
    found = {
        name: [t.label for t in made.tasks if t.runtime.name == name] for name in ("onnxruntime", "ncnn")
    }
    assert found == {
        "onnxruntime": ["dense", "dense", "int8", "int8", "fp16", "fp16"],
        "ncnn": ["dense", "dense"],
    }
    (said,) = tell_left_out(made.left_out)
    assert said.startswith("ncnn leaves out int8, fp16: it takes float32 models")
    assert tell_left_out(narrow_plan(made, ["dense"]).left_out) == []
    assert Plan.model_validate_json(made.model_dump_json()) == made


def test_ncnn_takes_one_image_at_a_time() -> None:
    made = plan_runtimes([{}], [{"name": ["onnxruntime", "ncnn"], "batch": [1, 8]}])
    assert [(task.runtime.name, task.runtime.batch) for task in made.tasks] == [
        ("onnxruntime", 1),
        ("onnxruntime", 8),
        ("ncnn", 1),
    ]
    assert tell_left_out(made.left_out) == ["ncnn leaves out dense: it takes one image at a time, not 8"]


@pytest.mark.parametrize(
    ("quantize", "is_possible"),
    [
        ({"scheme": "fp16"}, True),
        ({"scheme": "static-int8", "target": "tensorrt"}, True),
        ({"scheme": "static-int8"}, False),
        ({"scheme": "static-int8", "target": "arm64"}, False),
        ({"scheme": "dynamic-int8"}, False),
        ({"scheme": "mixed", "weights": 8, "activations": 8}, False),
    ],
)
def test_tensorrt_gets_only_the_quantization_that_it_has(quantize: object, is_possible: bool) -> None:
    made = plan_runtimes([{}, {"quantize": quantize}], [{"name": "tensorrt"}])
    assert len(made.tasks) == 1 + is_possible
    assert all("target: tensorrt" in one.reason for one in made.left_out)


def test_the_runtimes_of_a_device_are_those_of_its_tasks() -> None:
    made = plan_runtimes([{}], [{"name": ["onnxruntime", "openvino"]}])
    assert [one.name for one in runtimes_of(made.tasks, "a")] == ["onnxruntime", "openvino"]
    assert runtimes_of(made.tasks, "b") == ()


@pytest.mark.parametrize("shapes", [{}, {"x": (1, 3, 8, 8)}])
def test_a_batch_that_a_file_or_a_shape_does_not_have_is_refused(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]]
) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(make_model(batch="n" if shapes else 1))
    artifact, measure = read_onnx(file, shapes), Measure()
    assert len(plan_file(artifact, shapes, ["pi4"], [RuntimeSettings()], measure).tasks) == 1
    with pytest.raises(UsageError, match="measured at batch 1, not 4"):
        plan_file(artifact, shapes, ["pi4"], [RuntimeSettings(batch=4)], measure)
