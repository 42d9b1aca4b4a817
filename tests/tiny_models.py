"""Small architectures for the tests of host/compress, found by recipes as `tiny_models:FACTORY`."""

from __future__ import annotations

import torch
from torch import nn


def make_tiny(width: int = 16, classes: int = 10) -> nn.Module:
    """Two convolutions with norms, then a hidden layer and the classifier."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1, stride=2, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * width, classes),
    )


class Wavering(nn.Module):
    """Answers otherwise while it is exported: what the check of exports is there to find."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layer(x.flatten(1))
        return scores + 0.25 if torch.compiler.is_exporting() else scores


def make_wavering() -> nn.Module:
    return Wavering()


def make_number() -> int:
    return 3
