"""Training and fine-tuning: the same bytes for the same seed, also where it was interrupted in between."""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor
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
from host.compress.optimization import Average, make_optimizer, make_schedule, mix_losses
from host.compress.repeatable import repeatable_torch
from host.compress.torch_answers import check_outputs
from host.errors import BuildError
from host.progress import Tick
from host.specs.recipe import Training
from host.specs.variant import Distill


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


def _plain_state(schedule: torch.optim.lr_scheduler.LRScheduler) -> dict[str, Any]:
    """A schedule's state without its functions, which torch would only read back by running code."""
    return {key: value for key, value in schedule.state_dict().items() if not callable(value)}


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
