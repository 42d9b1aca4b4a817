"""Recipes, profiles and devices: what they accept, and how they say everything that is wrong at once."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from host.errors import SpecError
from host.specs.library import load_profile, load_recipe
from host.specs.measure import Measure
from host.specs.profile import Profile, RuntimeSettings, expand_axes, parse_profile
from host.specs.reading import Faults, parse_record, read_document, read_record
from host.specs.recipe import Augment, Recipe, Training
from host.specs.variant import Distill, FineTune, Variant
from host.specs.writing import to_yaml
from host.workspace import Workspace, find_root


def parse(text: str) -> Profile:
    return parse_profile(yaml.safe_load(text))


def faults_of(text: str) -> list[str]:
    with pytest.raises(Faults) as caught:
        parse(text)
    return caught.value.lines


def test_lists_are_axes_and_a_sweep_is_their_product() -> None:
    profile = parse("""
        name: p
        model: m
        variants:
          - {}
          - prune: {granularity: channel, criterion: l2, sparsity: [0.3, 0.5]}
            quantize: [null, {scheme: static-int8}]
        runtimes: [{name: onnxruntime, threads: [1, 4]}]
    """)
    assert [variant.label for variant in profile.variants] == [
        "dense",
        "channel-l2-30",
        "channel-l2-30+int8",
        "channel-l2-50",
        "channel-l2-50+int8",
    ]
    assert [runtime.threads for runtime in profile.runtimes] == [1, 4]


def test_equal_points_of_the_axes_stand_once() -> None:
    profile = parse("{name: p, model: m, variants: [{}, {}, {prune: null}]}")
    assert profile.variants == (Variant(),)


def test_every_fault_of_a_profile_is_said_at_once_with_its_path() -> None:
    lines = faults_of("""
        name: "../p"
        model: m
        devices: [a, {label: [jetson]}]
        variants:
          - {prun: 1}
          - prune: {granularity: channels, sparsity: [0.3, 1.5], finetune: {epochs: 0}}
        measure: {preset: quik}
        limits: {min_accuracy: 92}
    """)
    assert [line.split(":")[0] for line in lines] == [
        "variants[0].prun",
        "variants[1].prune.granularity",
        "variants[1].prune.finetune.epochs",
        "variants[1].prune.sparsity",
        "name",
        "devices[1].label",
        "measure.preset",
        "limits.min_accuracy",
    ]
    assert "found 1.5" in lines[3]
    assert lines[0].endswith("unknown key; did you mean prune?")
    assert lines[5].endswith("unknown key; did you mean labels?")


@pytest.mark.parametrize("variants", ["{}", "[]", "dense", "null"])
def test_variants_that_are_no_list_are_refused(variants: str) -> None:
    assert faults_of(f"{{name: p, model: m, variants: {variants}}}") == [
        "variants: expected a list with at least one entry"
    ]


def test_a_device_choice_says_exactly_one_thing() -> None:
    assert "devices[0]" in faults_of("{name: p, model: m, devices: [{emulate: x, labels: [y]}]}")[0]


def runtimes_in(text: str) -> tuple[RuntimeSettings, ...]:
    return parse(f"{{name: p, model: m, runtimes: {text}}}").runtimes


def test_each_runtime_has_a_provider_of_its_own() -> None:
    found = runtimes_in("[{name: [onnxruntime, tensorrt, openvino, ncnn]}]")
    assert [one.provider for one in found] == ["CPUExecutionProvider", "GPU", "CPU", "CPU"]
    (asked,) = runtimes_in("[{provider: CUDAExecutionProvider}]")
    assert (asked.name, asked.provider) == ("onnxruntime", "CUDAExecutionProvider")


def test_a_board_is_told_only_the_options_that_a_profile_sets() -> None:
    plain, quiet, half = runtimes_in(
        "[{}, {spinning: false, arena: true}, {name: openvino, inference_precision: f16}]"
    )
    assert plain.options == {}
    assert quiet.options == {"spinning": False, "arena": True}
    assert half.options == {"inference_precision": "f16"}


@pytest.mark.parametrize(
    ("runtime", "said"),
    [
        ("{name: openvino, spinning: true}", "runtimes[0].spinning: has no meaning with name: openvino"),
        ("{name: ncnn, arena: true}", "runtimes[0].arena: has no meaning with name: ncnn"),
        (
            "{inference_precision: f16}",
            "runtimes[0].inference_precision: has no meaning with name: onnxruntime",
        ),
        ("{name: tensorrt, threads: 4}", "runtimes[0].threads: has no meaning with name: tensorrt"),
        ("{name: tensorrt, provider: CPU}", "runtimes[0].provider: tensorrt runs on GPU and nothing else"),
        ("{provider: CPU}", "runtimes[0].provider: expected a name such as CPUExecutionProvider"),
        (
            "{name: tflite}",
            "runtimes[0].name: expected 'onnxruntime', 'tensorrt', 'openvino' or 'ncnn', found 'tflite'",
        ),
        ("{name: ncnn, inference_precision: f64}", "runtimes[0].inference_precision: expected 'f32', 'f16'"),
    ],
)
def test_a_setting_at_the_wrong_runtime_is_a_fault_with_its_path(runtime: str, said: str) -> None:
    (line,) = faults_of(f"{{name: p, model: m, runtimes: [{runtime}]}}")
    assert line.startswith(said)


def test_every_fault_of_a_runtime_is_said() -> None:
    lines = faults_of(
        "{name: p, model: m, runtimes: [{name: openvino, provider: GPU, spinning: true, threads: 0}]}"
    )
    assert sorted(line.split(":")[0] for line in lines) == [
        "runtimes[0].provider",
        "runtimes[0].spinning",
        "runtimes[0].threads",
    ]


def test_round_to_without_channels_is_a_fault() -> None:
    lines = faults_of(
        "{name: p, model: m, variants: [{prune: {granularity: weight, sparsity: 0.5, round_to: 8}}]}"
    )
    assert lines == ["variants[0].prune: round_to has no meaning with granularity: weight"]


def test_a_preset_can_be_changed_in_one_place() -> None:
    measure = parse("{name: p, model: m, measure: {preset: quick, rounds: 7}}").measure
    assert (measure.rounds, measure.round_s, measure.round_samples) == (7, 0.5, 64)


def test_rigorous_measures_a_minute_and_a_thousand_samples_at_least() -> None:
    measure = Measure.model_validate({"preset": "rigorous"})
    assert measure.rounds * measure.round_s == pytest.approx(60)
    assert measure.rounds * measure.round_samples >= 1000


def test_a_key_that_stands_twice_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("name: a\nmodel: m\nname: b\n")
    with pytest.raises(SpecError, match="line 3, column 1: the key 'name' stands here twice"):
        read_document(path)


@pytest.mark.parametrize(
    "text", ["", "- a\n", "just words", "a: [1,\n", "\x00", "a: &a [*a, *a]\n? {b: c}\n: d"]
)
def test_text_that_is_no_mapping_is_a_spec_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"odd\.yaml"):
        read_record(path, partial(parse_record, Recipe))


def test_a_recipe_is_named_as_its_file(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    text = to_yaml(load_recipe(Workspace(tmp_path), "mobilenet_v2-digits"))
    (tmp_path / "models" / "other.yaml").write_text(text)
    with pytest.raises(SpecError, match="expected 'other' as the file is called"):
        load_recipe(Workspace(tmp_path), "other")


def test_shipped_recipes_and_profiles_are_right_and_fit_together(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for name in workspace.find_files("profiles"):
        for model in load_profile(workspace, name).model:
            load_recipe(workspace, model)


def test_every_shipped_recipe_is_right(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for name in workspace.find_files("models"):
        assert load_recipe(workspace, name).name == name


RECIPE: dict[str, Any] = {
    "name": "mine",
    "architecture": "torchvision:resnet18",
    "data": {"name": "npz", "path": "data.npz"},
    "input": {"shape": [3, 8, 8]},
}
WRONG_RECIPES = {
    "npz needs a path": {"data": {"name": "npz"}},
    "path has no meaning for digits": {"data": {"name": "digits", "path": "x"}},
    "test_fraction has no meaning for npz": {"data": {**RECIPE["data"], "test_fraction": 0.2}},
    "data.validation_fraction": {"data": {**RECIPE["data"], "validation_fraction": 1}},
    "two starting points": {"checkpoint": "a.pt", "pretrained": "torchvision"},
    "needs one of torchvision's architectures": {"architecture": "nets:make", "pretrained": "torchvision"},
    "mean has 2 values for 3 channels": {"input": {"shape": [3, 8, 8], "mean": [0, 1]}},
    "every standard deviation must be above 0": {"input": {"shape": [3, 8, 8], "std": [0]}},
    "every extent must be at least 1": {"input": {"shape": [3, 0, 8]}},
    "training.augment.crop": {"training": {"epochs": 1, "augment": {"crop": -1}}},
    "training.optimizer": {"training": {"epochs": 1, "optimizer": "adam"}},
    "training.ema_decay": {"training": {"epochs": 1, "ema_decay": 1.0}},
    "training.batch_size": {"training": {"epochs": 1, "batch_size": 1}},
}


@pytest.mark.parametrize(("said", "changes"), WRONG_RECIPES.items(), ids=WRONG_RECIPES)
def test_a_recipe_that_contradicts_itself_is_a_fault(said: str, changes: dict[str, object]) -> None:
    with pytest.raises(Faults) as caught:
        parse_record(Recipe, {**RECIPE, **changes})
    assert len(caught.value.lines) == 1
    assert said in caught.value.lines[0]


def test_what_is_shown_of_a_recipe_reads_back_as_the_same_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(Workspace(tmp_path), "mobilenet_v2-digits")
    assert Recipe.model_validate(yaml.safe_load(to_yaml(recipe))) == recipe


scalars = st.none() | st.integers(0, 3) | st.sampled_from(["a", "b"])
axes = st.dictionaries(
    st.sampled_from("abc"), st.lists(scalars, min_size=1, max_size=3) | scalars, max_size=3
)


@given(axes)
def test_the_number_of_points_is_the_product_of_the_lists(node: dict[str, object]) -> None:
    expected = 1
    for value in node.values():
        expected *= len(value) if isinstance(value, list) else 1
    points = list(expand_axes(node))
    assert len(points) == expected
    assert all(point.keys() == node.keys() for point in points)
    assert not any(isinstance(value, list) for point in points for value in point.values())


noise = st.recursive(
    scalars | st.sampled_from([0.5, -1.0, "x" * 70, "p", True]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["prune", "name", "preset", "é", ""]), inner, max_size=3)
    ),
    max_leaves=12,
)
keys = st.sampled_from(["name", "model", "devices", "variants", "runtimes", "measure", "limits", "seed"])


@given(st.dictionaries(keys, noise))
def test_any_document_is_a_profile_or_has_faults(document: dict[str, object]) -> None:
    try:
        parse_profile(document)
    except Faults as faults:
        assert faults.lines


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("name: a\nmodel: 2001-99-99\n", "line 2, column 8: month must be in 1..12"),
        ("name: a\nseed: !!int many\n", "line 2, column 7: invalid literal"),
        ("name: a\nseed: " + "9" * 5000, "line 2, column 7: Exceeds the limit"),
        ("model: " + "[" * 3000 + "]" * 3000, "is nested too deeply"),
        ("a: &a [*a]\n", "its aliases make it endless"),
        ("description: " + "x" * 2**20, "is larger than 1 MiB"),
    ],
)
def test_a_file_that_no_one_could_read_is_one_fault(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        read_document(path)
    assert len(caught.value.faults) == 1
    assert fault in caught.value.faults[0]


def test_aliases_that_multiply_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 10)}]" for at in range(1, 12)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(SpecError, match="more than 100,000 values"):
        read_document(tmp_path / "bomb.yaml")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(SpecError, match="is not a file"):
        read_document(tmp_path / "pipe.yaml")


def test_merge_keys_bring_in_what_an_alias_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("base: &base {rounds: 3, round_s: 1}\nmeasure: {<<: *base, rounds: 5}\n")
    assert read_document(path)["measure"] == {"rounds": 5, "round_s": 1}


def test_axes_that_span_more_than_anybody_measures_are_a_fault() -> None:
    sparsities = [at / 1000 for at in range(1, 400)]
    prune = {"granularity": "channel", "sparsity": sparsities, "round_to": list(range(1, 200))}
    with pytest.raises(Faults, match=r"variants\[1\]: its lists span 79,401 variants"):
        parse_profile({"name": "wide", "model": "m", "variants": [{}, {"prune": prune}]})


def test_a_file_may_end_in_yml(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.yml").write_text("name: mine\nmodel: mobilenet_v2-digits\n")
    assert load_profile(Workspace(tmp_path), "mine").name == "mine"


def test_what_an_agent_leaves_in_a_home_folder_makes_it_no_workspace(tmp_path: Path) -> None:
    (tmp_path / ".boardbench" / "blobs").mkdir(parents=True)
    (tmp_path / "project").mkdir()
    assert find_root(tmp_path / "project") == tmp_path / "project"
    (tmp_path / ".boardbench" / "cache").mkdir()
    assert find_root(tmp_path / "project") == tmp_path


def test_fine_tuning_takes_what_it_does_not_say_from_the_recipe() -> None:
    recipe = Training(epochs=9, weight_decay=0.01, momentum=0.8, augment=Augment(crop=2, cutout=3), seed=5)
    said = FineTune(
        epochs=1, learning_rate=0.3, weight_decay=0.0, augment=Augment(flip=True), distill=Distill()
    )
    assert FineTune(epochs=1).over(recipe) == recipe.model_copy(update={"epochs": 1, "learning_rate": 0.02})
    assert said.over(recipe) == Training(
        epochs=1, learning_rate=0.3, weight_decay=0.0, momentum=0.8, augment=Augment(flip=True), seed=5
    )
