"""Training and fine-tuning: SGD under a one-cycle learning rate, the same bytes for the same seed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import torch
from torch.nn import functional

from host.compress.data import Images
from host.compress.user_code import blame_code
from host.errors import BuildError
from host.progress import Tick
from host.specs.recipe import Training


def count_steps(images: int, training: Training, epochs: int) -> int:
    """How many batches `fit` will take: the total of its ticks."""
    return epochs * len(_batch_bounds(images, training.batch_size))


def fit(
    model: torch.nn.Module,
    images: Images,
    training: Training,
    *,
    epochs: int,
    learning_rate: float,
    tick: Tick,
) -> None:
    """Train the model in place; it ends in evaluation mode. `tick` is called once for every batch.

    The same seed, number of cores and libraries give the same weights. Raises BuildError if the loss is
    no longer finite, or the model has fewer outputs than there are classes.
    """

    stopped = Event()

    def tick_or_stop(advance: float = 1, note: str = "") -> None:
        if stopped.is_set():
            raise CancelledError
        tick(advance, note)

    def train() -> None:
        with repeatable_torch(training.seed):
            _train(model, images, training, epochs, learning_rate, tick_or_stop)

    # A thread of its own, because its OpenMP threads must start with denormals flushed; see below.
    with ThreadPoolExecutor(max_workers=1) as worker:
        try:
            worker.submit(train).result()
        finally:
            stopped.set()  # Ctrl-C arrives here, and the thread stops at its next batch


def _train(
    model: torch.nn.Module, images: Images, training: Training, epochs: int, learning_rate: float, tick: Tick
) -> None:
    check_outputs(model, images)
    model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.from_numpy(images.x).to(memory_format=torch.channels_last)
    y = torch.from_numpy(images.y)
    bounds = _batch_bounds(len(images), training.batch_size)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        nesterov=training.momentum > 0,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * len(bounds))
    for epoch in range(1, epochs + 1):
        order = torch.randperm(len(images))
        for start, end in bounds:
            chosen = order[start:end]
            optimizer.zero_grad()
            scores = model(x[chosen])
            loss = functional.cross_entropy(scores, y[chosen], label_smoothing=training.label_smoothing)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            tick(1, f"epoch {epoch}/{epochs}, loss {_check_loss(loss, epoch):.3f}")
    # Contiguous weights are what pruning by a flat view and the exporter expect.
    model.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


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


def check_outputs(model: torch.nn.Module, images: Images) -> None:
    """Raises BuildError where the model does not take the images, or does not answer with class scores."""
    classes = int(images.y.max()) + 1
    model.eval()
    shape = list(images.x.shape[1:])
    with torch.no_grad(), blame_code(f"the model does not run on the recipe's input {shape}"):
        outputs = model(torch.from_numpy(images.x[:2]))
    if not isinstance(outputs, torch.Tensor) or outputs.dim() != 2 or outputs.shape[1] < classes:
        found = list(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise BuildError(
            f"the model answers with {found} to a batch of 2, expected [2, {classes}] class scores",
            "Many factories take the number of classes: `arguments: {num_classes: 10}` in the recipe.",
        )


@contextmanager
def repeatable_torch(seed: int) -> Iterator[None]:
    """All cores but one, a seeded generator, and denormals flushed to zero.

    Small layers meet at a barrier thousands of times a second, spinning. Were there as many threads as
    cores, one other busy process would hold a thread of ours and all the others would spin for it: on two
    cores that was measured to be 30 times slower, where the second core alone gains a third.

    Denormals appear in the gradients of nearly trained models and make them several times slower. The
    switch belongs to a thread; the threads that OpenMP starts for it inherit it, if they start afterwards.
    """
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))
    torch.set_flush_denormal(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
