"""A profile becomes tasks: each once, with ids that say when bytes are equal."""

from __future__ import annotations

import pytest

from host.errors import UsageError
from host.plan import Plan, estimate_device_seconds, narrow_plan, plan_sweep
from host.specs.profile import Profile, parse_profile
from host.specs.recipe import Recipe

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
