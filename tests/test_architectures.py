from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
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
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_a_checkpoints_weights_are_the_models(tmp_path: Path, wrap: Any, prefix: str) -> None:
    trained = make_tiny()
    state = {f"{prefix}{name}": value for name, value in trained.state_dict().items()}
    torch.save(wrap(state), tmp_path / "weights.pt")
    assert equal(load_model(make_recipe(checkpoint=str(tmp_path / "weights.pt"))), trained)


def test_a_safetensors_file_is_a_checkpoint(tmp_path: Path) -> None:
    trained = make_tiny()
    safetensors.torch.save_file(trained.state_dict(), tmp_path / "weights.safetensors")
    assert equal(load_model(make_recipe(checkpoint=str(tmp_path / "weights.safetensors"))), trained)


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_truncated_safetensors_file_is_an_error(tmp_path: Path, kept: int) -> None:
    whole = safetensors.torch.save(make_tiny().state_dict())
    (tmp_path / "weights.safetensors").write_bytes(whole[:kept])
    with pytest.raises(BuildError, match=r"weights\.safetensors: cannot be read as safetensors"):
        load_model(make_recipe(checkpoint=str(tmp_path / "weights.safetensors")))


def test_a_pickled_model_is_refused_with_a_word_on_how_to_allow_it(tmp_path: Path) -> None:
    torch.save(make_tiny(), tmp_path / "model.pt")
    with pytest.raises(BuildError, match="cannot be read as a state dict") as caught:
        load_model(make_recipe(checkpoint=str(tmp_path / "model.pt")))
    assert "state_dict()" in str(caught.value.hint)
    assert "allow_pickle: true" in str(caught.value.hint)
    for advice in ("weights_only", "add_safe_globals"):  # torch's own is to run the code after all
        assert advice not in caught.value.message


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: {"model": model, "epoch": 3}])
def test_a_pickled_model_that_is_allowed_gives_its_weights(tmp_path: Path, wrap: Any) -> None:
    trained = make_tiny()
    torch.save(wrap(trained), tmp_path / "model.pt")
    assert equal(load_model(make_recipe(checkpoint=str(tmp_path / "model.pt"), allow_pickle=True)), trained)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise ZeroDivisionError('sprung')",)


def test_code_in_a_checkpoint_runs_only_where_it_is_allowed(tmp_path: Path) -> None:
    torch.save({"layer": Trap()}, tmp_path / "weights.pt")
    with pytest.raises(BuildError, match="cannot be read as a state dict"):
        load_model(make_recipe(checkpoint=str(tmp_path / "weights.pt")))
    with pytest.raises(BuildError, match=r"weights\.pt: the code in it failed: ZeroDivisionError: sprung"):
        load_model(make_recipe(checkpoint=str(tmp_path / "weights.pt"), allow_pickle=True))


@pytest.mark.parametrize("content", [[1, 2], {"layer": "no tensor"}, torch.zeros(3)])
def test_a_file_that_holds_something_else_is_an_error(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "weights.pt")
    for key in ("checkpoint", "pretrained"):
        with pytest.raises(BuildError, match=r"weights\.pt"):
            load_model(make_recipe(**{key: str(tmp_path / "weights.pt")}))


def test_a_pretrained_model_of_other_classes_gives_all_but_its_classifier(tmp_path: Path) -> None:
    other = make_tiny(classes=7)
    torch.save(other.state_dict(), tmp_path / "weights.pt")
    fresh = load_model(make_recipe())
    model = load_model(make_recipe(pretrained=str(tmp_path / "weights.pt")))
    taken, own, wanted = (part.state_dict() for part in (model, fresh, other))
    assert len(taken) == 14
    for name, value in taken.items():
        source = own if name.startswith("8.") else wanted
        assert torch.equal(value, source[name]), name


def test_pretrained_weights_of_another_width_are_an_error_that_names_a_missing_one(tmp_path: Path) -> None:
    torch.save(make_tiny(width=4).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(BuildError, match=r"has 1 of the 8 parameters .* no 0\.weight \[16, 1, 3, 3\] in it"):
        load_model(make_recipe(pretrained=str(tmp_path / "weights.pt")))


def test_pretrained_weights_of_torchvision_are_loaded_or_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = load_torchvision().models
    kind = models.get_model_weights("mobilenet_v2")
    recipe = make_recipe(
        architecture="torchvision:mobilenet_v2", arguments={"num_classes": 7}, pretrained="torchvision"
    )
    theirs = models.mobilenet_v2().state_dict()
    monkeypatch.setattr(kind, "get_state_dict", lambda self, check_hash: theirs)
    assert torch.equal(load_model(recipe).state_dict()["features.0.0.weight"], theirs["features.0.0.weight"])

    def fail(self: Any, check_hash: bool) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(kind, "get_state_dict", fail)
    with pytest.raises(BuildError, match="cannot be loaded: no route to host") as caught:
        load_model(recipe)
    assert "pretrained: FILE" in str(caught.value.hint)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04" + bytes(50)])
def test_a_damaged_checkpoint_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(BuildError, match=r"weights\.pt: cannot be read") as caught:
        load_model(make_recipe(checkpoint=str(tmp_path / "weights.pt")))
    assert "allow_pickle" not in str(caught.value.hint)  # it would not help


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
