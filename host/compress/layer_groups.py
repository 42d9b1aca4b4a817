"""Which layers a profile means: patterns of their names, and the parts that they play in a network."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

from host.errors import BuildError
from host.specs.variant import Quantize

ROLES = ("first_conv", "inverted_residual", "final_conv", "classifier")


class RunLayer(NamedTuple):
    """A convolution or linear layer, by its name in the model; a list of them is in the order they run."""

    name: str
    layer: nn.Module


class BitWidths(NamedTuple):
    weights: int
    activations: int


def match_layers(patterns: Iterable[str], names: Sequence[str], setting: str) -> set[str]:
    """The names that a pattern matches. Raises BuildError where a pattern matches none, with the nearest."""
    matched = set()
    for pattern in patterns:
        found = {name for name in names if fnmatchcase(name, pattern)}
        if not found:
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3) or list(names[:3])
            raise BuildError(
                f"{setting}: no layer is named {pattern}",
                f"The nearest are {', '.join(near)}; * matches any.",
            )
        matched |= found
    return matched


def assign_bits(quantize: Quantize, layers: Sequence[RunLayer]) -> dict[str, BitWidths]:
    """The bits of every layer: the scheme's, or those of the last group that names the layer."""
    names = [layer.name for layer in layers]
    roles = find_roles(layers)
    bits = dict.fromkeys(names, BitWidths(quantize.weights or 8, quantize.activations or 8))
    for group in quantize.groups:
        named = (
            roles[group.layers] if group.layers in ROLES else match_layers([group.layers], names, "groups")
        )
        bits |= dict.fromkeys(named, BitWidths(group.weights, group.activations))
    return bits


def find_roles(layers: Sequence[RunLayer]) -> dict[str, set[str]]:
    """The layers that play each role; a small network may have none for some of them.

    The classifier is the last layer that runs; first and last are counted among the convolutions before it.
    """
    *body, last = layers
    convolutions = [name for name, layer in body if not isinstance(layer, nn.Linear)]
    ends = {"first_conv": set(convolutions[:1]), "final_conv": set(convolutions[1:][-1:])}
    between = {name for name, _ in body} - ends["first_conv"] - ends["final_conv"]
    return {**ends, "inverted_residual": between, "classifier": {last.name}}
