"""What a torch model answers: whether class scores at all, and how often the right ones."""

from __future__ import annotations

import torch
from torch import nn

from host.compress.data import Images, prepare_pixels
from host.compress.user_code import blame_code
from host.errors import BuildError
from host.progress import Tick

TEST_BATCH = 250


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
