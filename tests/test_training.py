from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
import torch

from host.compress.architectures import load_model
from host.compress.data import Images, load_split
from host.compress.training import count_steps, fit
from host.errors import BuildError
from host.specs.recipe import Training
from tests.tiny_plans import make_recipe

TRAINING = Training(epochs=1, batch_size=32, learning_rate=0.1)


@pytest.fixture(autouse=True)
def _beside_the_factories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)


@pytest.fixture(scope="module")
def images() -> Images:
    return load_split(make_recipe()).training


def ignore(advance: float = 1, note: str = "") -> None:
    return None


def train_bytes(images: Images, seed: int) -> bytes:
    training = TRAINING.model_copy(update={"seed": seed})
    model = load_model(make_recipe(training=training.model_dump()))
    fit(model, images, training, epochs=1, learning_rate=0.1, tick=ignore)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getvalue()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(images: Images) -> None:
    torch.manual_seed(77)
    first = train_bytes(images, 0)
    torch.manual_seed(78)  # what went on before must not matter
    assert train_bytes(images, 0) == first
    assert train_bytes(images, 1) != first


def test_training_leaves_the_generator_of_the_process_alone(images: Images) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3).tolist()
    torch.manual_seed(5)
    train_bytes(images, 0)
    assert torch.rand(3).tolist() == expected


def test_denormals_of_the_process_are_left_alone(images: Images) -> None:
    train_bytes(images, 0)
    assert float(torch.tensor(1e-30) * 1e-10) != 0


def test_the_model_ends_in_evaluation_mode_with_contiguous_weights(images: Images) -> None:
    model = load_model(make_recipe())
    fit(model, images.take(64), TRAINING, epochs=1, learning_rate=0.1, tick=ignore)
    assert not model.training
    assert all(parameter.is_contiguous() for parameter in model.parameters())


@pytest.mark.parametrize(("count", "steps"), [(64, 2), (65, 2), (66, 3), (1, 1)])
def test_a_last_batch_of_one_is_left_out(count: int, steps: int) -> None:
    assert count_steps(count, TRAINING, 3) == 3 * steps


def test_an_interruption_stops_at_the_next_batch(images: Images) -> None:
    ticks = 0

    def interrupt(advance: float = 1, note: str = "") -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(load_model(make_recipe()), images, TRAINING, epochs=5, learning_rate=0.1, tick=interrupt)
    time.sleep(0.1)
    assert ticks == 3


def test_a_model_that_does_not_take_the_recipes_input_is_an_error(images: Images) -> None:
    model = torch.nn.Conv2d(3, 10, 3)
    with pytest.raises(BuildError, match=r"does not run on the recipe's input \[1, 8, 8\]: RuntimeError"):
        fit(model, images, TRAINING, epochs=1, learning_rate=0.1, tick=ignore)
