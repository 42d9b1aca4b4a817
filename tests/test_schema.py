"""The JSON Schemas for editors: what is shipped fits, and typical slips do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from host.cli.workspaces import DEVICES, PROFILE
from host.specs.schema import KINDS, make_schema
from tests.tiny_workspace import PROFILE as TINY

ROOT = Path(__file__).resolve().parent.parent
PROFILES = [*sorted((ROOT / "profiles").glob("*.yaml")), ROOT / "benchmarks" / "cifar10.yaml"]
RECIPES = sorted((ROOT / "models").glob("*.yaml"))
SMALL = {"name": "mine", "model": "net"}


def find_faults(kind: str, document: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(make_schema(kind))
    return [error.message for error in validator.iter_errors(document)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_a_schema(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(make_schema(kind))


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.name)
def test_every_shipped_profile_fits(path: Path) -> None:
    assert find_faults("profile", yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_shipped_recipe_fits(path: Path) -> None:
    assert find_faults("recipe", yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize("text", [PROFILE, TINY])
def test_profiles_that_we_write_fit(text: str) -> None:
    assert find_faults("profile", yaml.safe_load(text)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"devices": ["pi4", {"labels": ["jetson"]}, {"emulate": "x86", "cpus": 2}]},
        {"measure": "quick"},
        {"measure": {"preset": "rigorous", "scenario": "sustained", "duration_s": "1h30m"}},
        {"model": ["a", "b.onnx"]},
        {"runtimes": [{"name": ["openvino", "ncnn"], "threads": [1, 4], "optional": True}]},
        {"variants": [{}, {"quantize": [None, {"scheme": "fp16"}]}]},
        {
            "variants": [
                {"quantize": {"scheme": "mixed", "weights": [4, 6], "activations": 8, "exclude": "a.*, b"}},
                {
                    "quantize": {
                        "scheme": "mixed",
                        "weights": 6,
                        "activations": 8,
                        "groups": {"classifier": {"weights": 8}},
                    }
                },
            ]
        },
    ],
)
def test_what_a_profile_may_say_fits(change: dict[str, Any]) -> None:
    assert find_faults("profile", SMALL | change) == []


@pytest.mark.parametrize(
    "change",
    [
        {"nmae": "x"},
        {"name": "no spaces"},
        {"model": []},
        {"devices": "pi4"},
        {"devices": [{"emulate": "x", "name": "y"}]},
        {"measure": "fast"},
        {"measure": {"rounds": 0}},
        {"measure": {"duration_s": "30 parsecs"}},
        {"variants": [{"prune": {"granularity": "chanel", "sparsity": 0.5}}]},
        {"variants": [{"prune": {"granularity": "channel", "sparsity": [0.5, 1.5]}}]},
        {"variants": [{"prune": {"sparsity": 0.5}}]},
        {"variants": [{"quantize": {"scheme": "int8"}}]},
        {"variants": [{"quantize": {"scheme": "mixed", "groups": {"classifier": {"weights": 5}}}}]},
        {"runtimes": [{"name": "onnxruntime", "thread": 4}]},
        {"runtimes": [{"batch": 0}]},
        {"limits": {"min_accuracy": 90}},
        {"limits": {"max_latency": 5}},
    ],
)
def test_a_slip_does_not_fit(change: dict[str, Any]) -> None:
    assert find_faults("profile", SMALL | change) != []


def test_name_and_model_are_required() -> None:
    assert len(find_faults("profile", {})) == 2


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"meter": {"command": "read-meter --channel 2"}}, True),
        ({"meter": {"command": ["read-meter", "2"]}}, True),
        ({"labels": ["pi4", "kitchen"], "port": 2222}, True),
        ({"port": "ssh"}, False),
        ({"fingerprint": "MD5:aa"}, False),
        ({"pasword": "x"}, False),
    ],
)
def test_devices_fit_or_not(change: dict[str, Any], fits: bool) -> None:
    device = {"host": "10.0.0.7", "fingerprint": "SHA256:" + "A" * 43} | change
    assert (find_faults("devices", {"devices": {"pi4": device}}) == []) is fits
    assert find_faults("devices", {"devices": {"-x": device}}) != []
    assert find_faults("devices", yaml.safe_load(DEVICES)) == []
