from __future__ import annotations

import io
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from host.compress.architectures import load_model
from host.compress.data import Images, load_split
from host.compress.optimization import Average, make_optimizer, make_schedule, mix_losses
from host.compress.torch_answers import measure_accuracy
from host.compress.training import Teacher, count_steps, fit
from host.errors import BuildError
from host.specs.recipe import Input, Training
from host.specs.variant import Distill
from tests.tiny_plans import make_recipe

TRAINING = Training(epochs=1, batch_size=32, learning_rate=0.1)


@pytest.fixture(autouse=True)
def _beside_the_factories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)


@pytest.fixture(scope="module")
def images() -> Images:
    return load_split(make_recipe()).training.take(300)


def ignore(advance: float = 1, note: str = "") -> None:
    return None


def as_bytes(model: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getvalue()


def make_model(**arguments: Any) -> nn.Module:
    return load_model(make_recipe(arguments=arguments))


def train_bytes(images: Images, training: Training, **extra: Any) -> bytes:
    model = make_model()
    fit(model, images, training, tick=ignore, **extra)
    return as_bytes(model)


def change(**changes: Any) -> Training:
    return Training.model_validate({**TRAINING.model_dump(), **changes})


class StopAt:
    """A tick that interrupts in one batch."""

    def __init__(self, batch: int) -> None:
        self.left = batch

    def __call__(self, advance: float = 1, note: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(images: Images) -> None:
    torch.manual_seed(77)
    first = train_bytes(images, TRAINING)
    torch.manual_seed(78)  # what went on before must not matter
    assert train_bytes(images, TRAINING) == first
    assert train_bytes(images, change(seed=1)) != first


def test_training_leaves_the_generator_of_the_process_alone(images: Images) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3).tolist()
    torch.manual_seed(5)
    train_bytes(images, change(augment={"crop": 1, "flip": True}))
    assert torch.rand(3).tolist() == expected


def test_denormals_of_the_process_are_left_alone(images: Images) -> None:
    train_bytes(images, TRAINING)
    assert float(torch.tensor(1e-30) * 1e-10) != 0


def test_the_model_ends_in_evaluation_mode_with_contiguous_weights(images: Images) -> None:
    model = make_model()
    fit(model, images.take(64), TRAINING, tick=ignore)
    assert not model.training
    assert all(parameter.is_contiguous() for parameter in model.parameters())


@pytest.mark.parametrize(("count", "steps"), [(64, 2), (65, 2), (66, 3), (1, 1)])
def test_a_last_batch_of_one_is_left_out(count: int, steps: int) -> None:
    assert count_steps(count, change(epochs=3)) == 3 * steps


def test_an_interruption_stops_at_the_next_batch(images: Images) -> None:
    stop = StopAt(3)
    with pytest.raises(KeyboardInterrupt):
        fit(make_model(), images, change(epochs=5), tick=stop)
    time.sleep(0.1)
    assert stop.left == 0


def test_a_model_that_does_not_take_the_recipes_input_is_an_error(images: Images) -> None:
    model = nn.Conv2d(3, 10, 3)
    with pytest.raises(BuildError, match=r"does not run on the recipe's input \[1, 8, 8\]: RuntimeError"):
        fit(model, images, TRAINING, tick=ignore)


def test_a_training_that_diverges_is_an_error(images: Images) -> None:
    with pytest.raises(BuildError, match="training diverged in epoch 1"):
        train_bytes(images, change(learning_rate=1e30))


COURSES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "cosine and a mean": {"schedule": "cosine", "ema_decay": 0.9},
    "adamw and a mean": {"optimizer": "adamw", "learning_rate": 0.01, "ema_decay": 0.9},
    "adamw, cosine": {"optimizer": "adamw", "learning_rate": 0.01, "schedule": "cosine"},
    "augmented": {"augment": {"crop": 2, "flip": True}, "ema_decay": 0.99, "label_smoothing": 0.1},
    "without momentum": {"momentum": 0.0},
}


@pytest.mark.parametrize("changes", COURSES.values(), ids=COURSES)
def test_a_training_that_was_interrupted_ends_with_the_same_bytes(
    images: Images, tmp_path: Path, changes: dict[str, Any]
) -> None:
    training = change(epochs=3, **changes)
    whole = train_bytes(images, training)
    resume = tmp_path / "state.partial"
    for batch in (15, 8):  # in the second epoch, then in the third; the first tick tells what was done
        with pytest.raises(KeyboardInterrupt):
            fit(make_model(), images, training, tick=StopAt(batch), resume=resume)
    ticks: list[float] = []
    model = make_model()
    fit(model, images, training, tick=lambda advance=1, note="": ticks.append(advance), resume=resume)
    assert ticks[0] in (10, 20)
    assert sum(ticks) == count_steps(len(images), training)
    assert as_bytes(model) == whole


@pytest.mark.parametrize("content", [b"", b"no state", b"PK\x03\x04" + bytes(40)])
def test_a_state_that_cannot_be_read_is_ignored(images: Images, tmp_path: Path, content: bytes) -> None:
    resume = tmp_path / "state.partial"
    resume.write_bytes(content)
    assert train_bytes(images, TRAINING, resume=resume) == train_bytes(images, TRAINING)


@pytest.mark.parametrize("other", ["settings", "model", "images", "teacher", "list"])
def test_a_state_of_another_training_is_ignored(images: Images, tmp_path: Path, other: str) -> None:
    resume, training = tmp_path / "state.partial", change(epochs=2)
    theirs = change(epochs=2, optimizer="adamw", ema_decay=0.9) if other == "settings" else training
    few = images.take(200) if other == "images" else images
    model = make_model(width=4) if other == "model" else make_model()
    teacher = Teacher(make_model(), Distill()) if other == "teacher" else None
    with pytest.raises(KeyboardInterrupt):
        fit(
            model,
            few,
            theirs,
            tick=StopAt(count_steps(len(few), TRAINING) + 2),
            teacher=teacher,
            resume=resume,
        )
    assert resume.is_file()
    if other == "list":
        torch.save([1, 2], resume)
    assert train_bytes(images, training, resume=resume) == train_bytes(images, training)


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw", "learning_rate": 0.01}])
def test_held_weights_stay_zero_under_momentum_decay_and_the_mean(
    images: Images, changes: dict[str, Any]
) -> None:
    model = make_model()
    held = []
    for layer in (model[0], model[3], model[8]):  # type: ignore[index]
        mask = (torch.rand_like(layer.weight) < 0.5).float()
        layer.weight.data.mul_(mask)
        held.append((layer.weight, mask))
    before = [weight.clone() for weight, _ in held]
    fit(model, images, change(weight_decay=0.01, ema_decay=0.9, **changes), tick=ignore, held=held)
    for (weight, mask), old in zip(held, before, strict=True):
        assert (weight[mask == 0] == 0).all()
        assert not torch.signbit(weight[mask == 0]).any()  # -0.0 would not compress
        assert (weight[mask == 1] != old[mask == 1]).float().mean() > 0.9


def test_the_mixed_loss_is_what_hinton_wrote_down() -> None:
    own, distill = torch.tensor(0.7), Distill(temperature=2.0, weight=0.25)
    scores, wanted = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])

    def soften(one: float, other: float) -> tuple[float, float]:
        total = math.exp(one / 2) + math.exp(other / 2)
        return math.exp(one / 2) / total, math.exp(other / 2) / total

    student, teacher = soften(2, 0), soften(0, 4)
    divergence = sum(t * math.log(t / s) for t, s in zip(teacher, student, strict=True))
    mixed = mix_losses(own, scores, wanted, distill)
    assert float(mixed) == pytest.approx(0.75 * 0.7 + 0.25 * 4 * divergence, rel=1e-5)


def test_a_student_moves_towards_its_teacher_which_stays_as_it_is(images: Images) -> None:
    teacher = make_model()
    fit(teacher, images, change(epochs=4), tick=ignore)
    before = as_bytes(teacher)
    unlabelled = Images(images.pixels, np.roll(images.y, 1), images.seen)  # its labels teach nothing

    def distance(student: nn.Module) -> float:
        x = torch.from_numpy(images.x)
        with torch.no_grad():
            ours, theirs = (functional.log_softmax(model(x), dim=1) for model in (student, teacher))
        return float(functional.kl_div(ours, theirs, reduction="batchmean", log_target=True))

    student = make_model(width=8)
    fresh = distance(student.eval())
    distill = Distill(temperature=2.0, weight=1.0)
    fit(student, unlabelled, change(epochs=4), tick=ignore, teacher=Teacher(teacher, distill))
    assert distance(student) < 0.3 * fresh
    assert as_bytes(teacher) == before
    assert not teacher.training


def test_the_optimizers_are_torchs_with_the_recipes_settings() -> None:
    model = make_model()
    sgd = make_optimizer(model, change(momentum=0.8, weight_decay=0.02)).param_groups[0]
    assert (sgd["lr"], sgd["momentum"], sgd["nesterov"], sgd["weight_decay"]) == (0.1, 0.8, True, 0.02)
    assert make_optimizer(model, change(momentum=0.0)).param_groups[0]["nesterov"] is False
    adamw = make_optimizer(model, change(optimizer="adamw", momentum=0.8, weight_decay=0.02))
    assert isinstance(adamw, torch.optim.AdamW)
    group = adamw.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.1, (0.8, 0.999), 0.02)
    assert len(group["params"]) == len(list(model.parameters()))


def follow(training: Training, steps: int, key: str = "lr") -> list[float]:
    optimizer = make_optimizer(nn.Linear(2, 2), training)
    schedule = make_schedule(optimizer, training, steps)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0][key])
        optimizer.step()
        schedule.step()
    return values


def test_cosine_only_falls_from_the_highest_rate() -> None:
    rates = follow(change(schedule="cosine"), 40)
    wanted = [0.1 * (1 + math.cos(math.pi * step / 40)) / 2 for step in range(40)]
    assert rates == pytest.approx(wanted, abs=1e-9)


def test_one_cycle_rises_for_the_warm_up_and_then_falls_almost_to_zero() -> None:
    rates = follow(change(warmup=0.25), 40)
    assert rates.index(max(rates)) == 9
    assert max(rates) == pytest.approx(0.1)
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-5


def test_the_momentum_of_one_cycle_swings_around_the_recipes() -> None:
    momenta = follow(change(momentum=0.9), 40, "momentum")
    assert (min(momenta), max(momenta)) == (pytest.approx(0.85, abs=1e-3), pytest.approx(0.95, abs=1e-3))
    assert max(follow(change(momentum=0.5), 40, "momentum")) == pytest.approx(0.55)
    assert set(follow(change(momentum=0.0), 40, "momentum")) == {0}
    assert max(follow(change(momentum=0.99), 40, "momentum")) < 1


@pytest.mark.parametrize("warmup", [0.01, 0.1, 0.25, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 4, 10])
def test_every_warm_up_of_every_number_of_steps_has_rates(warmup: float, steps: int) -> None:
    rates = follow(change(warmup=warmup), steps)
    assert all(0 < rate <= 0.1 + 1e-9 for rate in rates)


def test_the_mean_is_over_the_steps_and_counts_the_late_ones_most() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = Average(model, decay=0.5)
    mean = 0.0
    for step, value in enumerate((1.0, 3.0, 7.0, 2.0), start=1):
        model.weight.data.fill_(value)
        average.update()
        decay = min(0.5, step / (step + 9))
        mean = decay * mean + (1 - decay) * value
    average.replace_live()
    assert model.weight.item() == pytest.approx(mean, rel=1e-6)


def test_the_mean_of_the_weights_is_the_result_and_not_the_last_ones(images: Images) -> None:
    assert train_bytes(images, change(ema_decay=0.99)) != train_bytes(images, TRAINING)


def test_accuracy_is_the_share_of_images_whose_largest_score_is_their_label() -> None:
    class Echo(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.one_hot(x[:, 0, 0, 0].round().long(), 10).float()

    shown = np.arange(600) % 10
    pixels = (shown / 9).astype(np.float32)[:, None, None, None]
    labels = np.where(np.arange(600) < 150, (shown + 1) % 10, shown)
    images = Images(pixels, labels, Input(shape=(1, 1, 1), std=(1 / 9,)))
    assert measure_accuracy(Echo(), images, ignore) == pytest.approx(0.75)
