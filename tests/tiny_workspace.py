"""A workspace with a recipe that trains in seconds: a user's own module, as users have it."""

from __future__ import annotations

from pathlib import Path

MODULE = """\
from torch import nn


def make(num_classes: int = 10, width: int = 16) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, num_classes),
    )
"""

RECIPE = """\
name: tiny
architecture: tiny_networks:make
arguments: {num_classes: 10}
data: {name: digits}
input: {shape: [1, 16, 16], mean: [0.5], std: [0.5]}
training: {epochs: 6, batch_size: 32, learning_rate: 0.1}
"""

PROFILE = """\
name: tiny
model: tiny
devices: [{emulate: x86-emulated, cpus: 1}]
variants:
  - {}
  - prune: {granularity: channel, criterion: l2, sparsity: 0.5, round_to: 4, finetune: {epochs: 1}}
    quantize: [null, {scheme: static-int8}]
measure: {preset: quick, round_s: 0.2, warmup_s: 0.2}
"""


def make_tiny_workspace(root: Path) -> Path:
    """Write the workspace's files; the module stands where a user's own code would."""
    for folder in ("models", "profiles"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "devices.yaml").write_text("devices: {}\n")
    (root / "tiny_networks.py").write_text(MODULE)
    (root / "models" / "tiny.yaml").write_text(RECIPE)
    (root / "profiles" / "tiny.yaml").write_text(PROFILE)
    return root
