from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from host.compress.architectures import load_model
from host.compress.vision_ops import load_torchvision
from host.errors import BenchError, BuildError
from tests.tiny_models import make_tiny
from tests.tiny_plans import make_recipe

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _beside_the_factories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


def test_torchvision_imports_whichever_torch_is_beside_it() -> None:
    program = "from host.compress.vision_ops import load_torchvision; print(load_torchvision().__name__)"
    words = [sys.executable, "-W", "error", "-c", program]
    ran = subprocess.run(words, capture_output=True, text=True, check=True, cwd=HERE.parent)
    assert ran.stdout.strip() == load_torchvision().__name__ == "torchvision"


def test_a_torchvision_classifier_takes_the_recipes_arguments() -> None:
    recipe = make_recipe(architecture="torchvision:mobilenet_v2", arguments={"num_classes": 7})
    assert load_model(recipe).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 7)


def test_an_unknown_classifier_offers_the_nearest_names() -> None:
    with pytest.raises(BenchError, match="Did you mean mobilenet_v2"):
        load_model(make_recipe(architecture="torchvision:mobilenetv2"))


def test_fresh_weights_follow_from_the_seed() -> None:
    first, again = load_model(make_recipe()), load_model(make_recipe())
    other = load_model(make_recipe(training={"epochs": 1, "seed": 1}))
    assert equal(first, again)
    assert not equal(first, other)


def test_the_path_of_imports_is_left_as_it_was() -> None:
    before = list(sys.path)
    load_model(make_recipe())
    assert sys.path == before


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoints_weights_are_the_models(tmp_path: Path, wrap: Any, prefix: str) -> None:
    trained = make_tiny()
    state = {f"{prefix}{name}": value for name, value in trained.state_dict().items()}
    torch.save(wrap(state), tmp_path / "weights.pt")
    assert equal(load_model(make_recipe(checkpoint=str(tmp_path / "weights.pt"))), trained)


def test_a_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(make_tiny(), tmp_path / "model.pt")
    with pytest.raises(BuildError, match="cannot be read as a state dict") as caught:
        load_model(make_recipe(checkpoint=str(tmp_path / "model.pt")))
    assert "state_dict()" in str(caught.value.hint)
    assert "weights_only" not in caught.value.message  # torch's advice is to run the code after all


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04" + bytes(50)])
def test_a_damaged_checkpoint_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(BuildError, match=r"weights\.pt: cannot be read"):
        load_model(make_recipe(checkpoint=str(tmp_path / "weights.pt")))


def test_a_checkpoint_of_another_model_is_an_error(tmp_path: Path) -> None:
    torch.save(make_tiny(width=4).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(BuildError, match="does not fit the recipe's architecture"):
        load_model(make_recipe(checkpoint=str(tmp_path / "weights.pt")))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def make(:\n", "SyntaxError"),
        ("raise KeyError('weights')\n", "KeyError: 'weights'"),
        ("import sys\nsys.exit(0)\n", "SystemExit"),
        ("def make():\n    raise OSError('no weights here')\n", "OSError: no weights here"),
    ],
)
def test_code_of_the_user_that_fails_is_an_error_that_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "failing_nets", raising=False)
    (tmp_path / "failing_nets.py").write_text(source)
    with pytest.raises(BuildError, match=said) as caught:
        load_model(make_recipe(architecture="failing_nets:make"))
    assert ", line " in str(caught.value)


def test_arguments_that_a_classifier_does_not_take_are_an_error() -> None:
    recipe = make_recipe(architecture="torchvision:mobilenet_v2", arguments={"num_clases": 7})
    with pytest.raises(BuildError, match="num_clases"):
        load_model(recipe)
