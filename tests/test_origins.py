from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from host.compress.origins import describe_origin
from host.errors import BuildError
from host.specs.recipe import Recipe


def make_recipe(architecture: str, **changes: Any) -> Recipe:
    data = {"data": {"name": "digits"}, "input": {"shape": [1, 8, 8]}}
    return Recipe.model_validate({"name": "mine", "architecture": architecture, **data, **changes})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_origin_is_json_with_the_versions_of_the_libraries(here: Path) -> None:
    origin = json.loads(json.dumps(describe_origin(make_recipe("torchvision:mobilenet_v2"))))
    assert origin["source"] is None
    assert {"torch", "onnx", "onnxruntime", "torch-pruning", "scikit-learn"} <= set(origin["libraries"])


def test_an_edit_of_any_module_of_the_package_changes_the_origin(here: Path) -> None:
    (here / "nets").mkdir()
    for name in ("__init__", "tiny", "blocks"):
        (here / "nets" / f"{name}.py").write_text("raise RuntimeError('planning runs no code')\n")
    recipe = make_recipe("nets.tiny:make")
    first = describe_origin(recipe)
    assert describe_origin(recipe) == first
    (here / "nets" / "blocks.py").write_text("# edited\n")
    assert describe_origin(recipe) != first


def test_a_single_module_is_found_from_a_folder_inside_the_workspace(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "devices.yaml").write_text("devices: {}\n")
    (here / "net.py").write_text("")
    (here / "inside").mkdir()
    monkeypatch.chdir(here / "inside")
    assert describe_origin(make_recipe("net:make"))["source"]


def test_a_module_that_is_nowhere_is_an_error_that_says_where_was_looked(here: Path) -> None:
    with pytest.raises(BuildError, match="no Python module 'nowhere_to_be_found'") as caught:
        describe_origin(make_recipe("nowhere_to_be_found.net:make"))
    assert str(here) in str(caught.value.hint)


def test_the_checkpoint_is_known_by_its_content(here: Path) -> None:
    recipe = make_recipe("torchvision:resnet18", checkpoint="weights.pt")
    with pytest.raises(BuildError, match=r"no checkpoint 'weights\.pt'"):
        describe_origin(recipe)
    (here / "weights.pt").write_bytes(b"one")
    first = describe_origin(recipe)["checkpoint"]
    (here / "weights.pt").write_bytes(b"two")
    assert describe_origin(recipe)["checkpoint"] != first
