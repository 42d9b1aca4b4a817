"""Training and fine-tuning: the same bytes for the same seed, also where it was interrupted in between."""

from __future__ import annotations

import io
import math
import os
import pickle
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from host.compress.augmenting import augment_pixels
from host.compress.build_store import write_file
from host.compress.data import Images, prepare_pixels
from host.compress.user_code import blame_code
from host.errors import BuildError
from host.progress import Tick
from host.specs.recipe import Training
from host.specs.variant import Distill

TEST_BATCH = 250
MOST_THREADS = 4
"""The number of threads decides how sums are rounded: equal machines give equal bytes, also with `--jobs`."""


@dataclass(frozen=True)
class Teacher:
    """The model whose answers are learned from, and how."""

    model: nn.Module
    distill: Distill


def count_steps(images: int, training: Training) -> int:
    """How many batches `fit` will take: the total of its ticks."""
    return training.epochs * len(_batch_bounds(images, training.batch_size))


def fit(
    model: nn.Module,
    images: Images,
    training: Training,
    *,
    tick: Tick,
    teacher: Teacher | None = None,
    held: Iterable[tuple[nn.Parameter, torch.Tensor]] = (),
    resume: Path | None = None,
) -> None:
    """Train the model in place; it ends in evaluation mode. `tick` is called once for every batch.

    `held` are parameters with masks that are 0 where they must stay 0. The state after each epoch is kept
    in the file `resume`, and an earlier call that was interrupted goes on from there.

    The same seed, number of cores and libraries give the same weights. Raises BuildError if the loss is
    no longer finite, or the model has fewer outputs than there are classes.
    """
    stopped = Event()

    def tick_or_stop(advance: float = 1, note: str = "") -> None:
        if stopped.is_set():
            raise CancelledError
        tick(advance, note)

    def train() -> None:
        check_outputs(model, images)
        with repeatable_torch(training.seed):
            _Course(model, images, training, teacher, list(held), resume).train(tick_or_stop)

    # A thread of its own, because its OpenMP threads must start with denormals flushed; see below.
    with ThreadPoolExecutor(max_workers=1) as worker:
        try:
            worker.submit(train).result()
        finally:
            stopped.set()  # Ctrl-C arrives here, and the thread stops at its next batch


class _Course:
    """One training from its first epoch to its last: all that changes from batch to batch."""

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        training: Training,
        teacher: Teacher | None,
        held: list[tuple[nn.Parameter, torch.Tensor]],
        resume: Path | None,
    ) -> None:
        self._model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._images = images
        self._training = training
        self._teacher = teacher
        self._held = [(parameter, mask == 0) for parameter, mask in held]  # filled: a product may be -0.0
        self._resume = resume
        self._bounds = _batch_bounds(len(images), training.batch_size)
        self._optimizer = make_optimizer(model, training)
        self._schedule = make_schedule(self._optimizer, training, training.epochs * len(self._bounds))
        self._average = None if training.ema_decay is None else Average(model, training.ema_decay)

    def train(self, tick: Tick) -> None:
        done = self._read_state()
        if done:
            tick(done * len(self._bounds), f"epoch {done}/{self._training.epochs} was done before")
        if self._teacher is not None:
            self._teacher.model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for epoch in range(done + 1, self._training.epochs + 1):
            self._model.train()
            order = torch.randperm(len(self._images))
            for start, end in self._bounds:
                loss = self._step(order[start:end])
                tick(1, f"epoch {epoch}/{self._training.epochs}, loss {_check_loss(loss, epoch):.3f}")
            if epoch < self._training.epochs:
                self._write_state(epoch)
        if self._average is not None:
            self._average.replace_live()
        # Contiguous weights are what pruning by a flat view and the exporter expect.
        for part in (self._model, *((self._teacher.model,) if self._teacher else ())):
            part.eval().to(memory_format=torch.contiguous_format)

    def _step(self, chosen: torch.Tensor) -> torch.Tensor:
        batch = self._images.pick(chosen.numpy())
        pixels = augment_pixels(batch.pixels, self._training.augment)
        x = torch.from_numpy(prepare_pixels(pixels, batch.seen)).to(memory_format=torch.channels_last)
        self._optimizer.zero_grad()
        loss = self._find_loss(x, torch.from_numpy(batch.y))
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        with torch.no_grad():
            for parameter, is_held in self._held:
                parameter.masked_fill_(is_held, 0)
        if self._average is not None:
            self._average.update()
        return loss

    def _find_loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        scores = self._model(x)
        own = functional.cross_entropy(scores, y, label_smoothing=self._training.label_smoothing)
        if self._teacher is None:
            return own
        with torch.no_grad():
            wanted = self._teacher.model(x)
        return mix_losses(own, scores, wanted, self._teacher.distill)

    def _describe_state(self, epoch: int) -> dict[str, Any]:
        return {
            "of": self._describe_course(),
            "epoch": epoch,
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": _plain_state(self._schedule),
            "average": None if self._average is None else self._average.state_dict(),
            "generator": torch.get_rng_state(),
        }

    def _describe_course(self) -> str:
        """What must be the same to go on from a state; the rest decides the name of the file."""
        distill = None if self._teacher is None else self._teacher.distill
        shapes = [tuple(value.shape) for value in self._model.state_dict().values()]
        return f"{self._training!r} {distill!r} {len(self._images)} {shapes}"

    def _write_state(self, epoch: int) -> None:
        if self._resume is None:
            return
        buffer = io.BytesIO()
        torch.save(self._describe_state(epoch), buffer)
        write_file(self._resume, buffer.getvalue())

    def _read_state(self) -> int:
        """How many epochs an earlier call finished, whose state is now this one's; 0 if there was none."""
        if self._resume is None or not self._resume.is_file():
            return 0
        try:
            state = torch.load(self._resume, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, OSError):
            return 0  # it only saves time
        if not isinstance(state, dict) or state.get("of") != self._describe_course():
            return 0
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        torch.set_rng_state(state["generator"])
        return int(state["epoch"])


def make_optimizer(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW, over all parameters."""
    if training.optimizer == "adamw":
        return torch.optim.AdamW(
            model.parameters(),
            lr=training.learning_rate,
            betas=(training.momentum, 0.999),
            weight_decay=training.weight_decay,
        )
    return torch.optim.SGD(
        model.parameters(),
        lr=training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        nesterov=training.momentum > 0,
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, training: Training, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate over all steps: up and down by cosines, or only down.

    In one cycle the momentum falls and rises against it, by 0.05 around its own value (Smith, 2018).
    """
    if training.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    # A warm-up of exactly one step has no length, and torch would divide by it.
    warmup = training.warmup + (1e-9 if math.isclose(training.warmup * steps, 1) else 0)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        training.learning_rate,
        total_steps=steps,
        pct_start=warmup,
        cycle_momentum=training.momentum > 0,
        base_momentum=max(0.0, round(training.momentum - 0.05, 9)),
        max_momentum=min(0.999, round(training.momentum + 0.05, 9)),
    )


def _plain_state(schedule: torch.optim.lr_scheduler.LRScheduler) -> dict[str, Any]:
    """A schedule's state without its functions, which torch would only read back by running code."""
    return {key: value for key, value in schedule.state_dict().items() if not callable(value)}


def mix_losses(
    own: torch.Tensor, scores: torch.Tensor, wanted: torch.Tensor, distill: Distill
) -> torch.Tensor:
    """The labels' loss and the teacher's, Kullback-Leibler at a temperature (Hinton et al., 2015).

    The square of the temperature keeps the size of its gradients.
    """
    heat = distill.temperature
    taught = functional.kl_div(
        functional.log_softmax(scores / heat, dim=1),
        functional.log_softmax(wanted / heat, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - distill.weight) * own + distill.weight * heat**2 * taught


class Average:
    """An exponential mean of a model's weights and of its norms' statistics, over the steps.

    Early on the mean is over the few steps that there are: the decay rises from 0.1 to what was asked.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._live = [value for value in model.state_dict().values() if value.is_floating_point()]
        self._means = [value.clone() for value in self._live]
        self._decay = decay
        self._steps = 0

    def update(self) -> None:
        self._steps += 1
        decay = min(self._decay, self._steps / (self._steps + 9))
        torch._foreach_lerp_(self._means, self._live, 1 - decay)

    def replace_live(self) -> None:
        """Make the mean the weights of the model that is averaged."""
        with torch.no_grad():
            torch._foreach_copy_(self._live, self._means)

    def state_dict(self) -> dict[str, Any]:
        return {"means": self._means, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        torch._foreach_copy_(self._means, state["means"])
        self._steps = int(state["steps"])


def _batch_bounds(images: int, size: int) -> list[tuple[int, int]]:
    """Start and end of each batch; a last batch of one is left out, batch normalisation has no use for it."""
    bounds = [(start, min(start + size, images)) for start in range(0, images, size)]
    return bounds[:-1] if len(bounds) > 1 and bounds[-1][1] - bounds[-1][0] == 1 else bounds


def _check_loss(loss: torch.Tensor, epoch: int) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise BuildError(
            f"training diverged in epoch {epoch}: the loss is {value}", "Lower its learning_rate."
        )
    return value


def measure_accuracy(model: nn.Module, images: Images, tick: Tick) -> float:
    """The share of images whose largest score is their label, by torch. `tick` counts images."""
    right = 0
    model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        for start in range(0, len(images), TEST_BATCH):
            x = prepare_pixels(images.pixels[start : start + TEST_BATCH], images.seen)
            scores = model(torch.from_numpy(x).to(memory_format=torch.channels_last)).numpy()
            labels = images.y[start : start + TEST_BATCH]
            right += int((scores.argmax(axis=1) == labels).sum())
            tick(len(labels))
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return right / len(images)


def check_outputs(model: nn.Module, images: Images) -> None:
    """Raises BuildError where the model does not take the images, or does not answer with class scores."""
    classes = int(images.y.max()) + 1
    model.eval()
    few = images.take(2).x
    shape = list(few.shape[1:])
    with torch.no_grad(), blame_code(f"the model does not run on the recipe's input {shape}"):
        outputs = model(torch.from_numpy(few))
    if not isinstance(outputs, torch.Tensor) or outputs.dim() != 2 or outputs.shape[1] < classes:
        found = list(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise BuildError(
            f"the model answers with {found} to a batch of 2, expected [2, {classes}] class scores",
            "Many factories take the number of classes: `arguments: {num_classes: 10}` in the recipe.",
        )


@contextmanager
def repeatable_torch(seed: int) -> Iterator[None]:
    """Up to four cores, a seeded generator, and denormals flushed to zero.

    Small layers meet at a barrier thousands of times a second. `building.py` asks OpenMP to sleep there:
    where threads spin, one other busy process holds a thread of ours and all the others spin for it. On two
    cores beside one busy process, MobileNetV2 took 1.43 s a batch so, and 0.76 s with threads that sleep.

    Denormals appear in the gradients of nearly trained models and make them several times slower. The
    switch belongs to a thread; the threads that OpenMP starts for it inherit it, if they start afterwards.
    """
    torch.set_num_threads(min(MOST_THREADS, len(os.sched_getaffinity(0))))
    torch.set_flush_denormal(True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_flush_denormal(False)
