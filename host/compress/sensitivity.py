"""Which layers to keep in float: those that hurt most, as few as keep the accuracy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from torch import nn

from host.compress.data import Floats, Images
from host.compress.evaluation import run_images, score_accuracy
from host.compress.fake_quantization import prepare_mixed, rounded_layers
from host.compress.quantization import Calibrated
from host.compress.stripping import serialize_model
from host.compress.torch_answers import measure_accuracy
from host.errors import BuildError
from host.specs.variant import Quantize

RANKING_IMAGES = 32


class Excluded(NamedTuple):
    """Layers that stay in float, the most sensitive first, and the accuracy that is lost even so."""

    layers: tuple[str, ...]
    drop: float


def find_excluded_file(source: Path, images: Floats, quantize: Quantize, validation: Images) -> Excluded:
    """The layers of a float32 file that static int8 must leave out for `auto_exclude`.

    `images` (N, C, H, W) are those of calibration, `validation` those that tell the accuracy.
    """
    calibrated = Calibrated(source, images, quantize)
    few = images[:RANKING_IMAGES]
    answers = run_images(source, few)
    accuracy = score_accuracy(run_images(source, validation.x), validation.y)

    def run(model: onnx.ModelProto, x: Floats) -> Floats:
        return run_images(serialize_model(model), x)

    def find_drop(excluded: Collection[str]) -> float:
        outputs = run(calibrated.write(excluded), validation.x)
        return accuracy - score_accuracy(outputs, validation.y)

    def find_error(layer: str) -> float:
        return _mean_square(run(calibrated.write(only=[layer]), few) - answers)

    return search_excluded(calibrated.list_layers(), find_error, find_drop, _max_drop(quantize))


def find_excluded_mixed(model: nn.Module, quantize: Quantize, images: Floats, validation: Images) -> Excluded:
    """The layers of a float model that mixed must leave out for `auto_exclude`; the model stays as it is."""
    prepared = copy.deepcopy(model)
    prepare_mixed(prepared, quantize, images)
    layers = rounded_layers(prepared)
    few = torch.from_numpy(images[:RANKING_IMAGES])

    def activate(active: Collection[str]) -> None:
        for name, layer in layers.items():
            layer.is_active = name in active

    def answer() -> Floats:
        with torch.no_grad():
            outputs: Floats = prepared(few).numpy()
        return outputs

    activate(())
    answers = answer()
    accuracy = measure_accuracy(prepared, validation, _say_nothing)

    def find_drop(excluded: Collection[str]) -> float:
        activate(layers.keys() - set(excluded))
        return accuracy - measure_accuracy(prepared, validation, _say_nothing)

    def find_error(layer: str) -> float:
        activate([layer])
        return _mean_square(answer() - answers)

    return search_excluded(tuple(layers), find_error, find_drop, _max_drop(quantize))


def search_excluded(
    layers: Sequence[str],
    find_error: Callable[[str], float],
    find_drop: Callable[[Collection[str]], float],
    max_drop: float,
) -> Excluded:
    """The shortest head of the layers, the most sensitive first, without which `max_drop` is kept.

    `find_error` tells how far answers move when that layer alone is quantized, `find_drop` the accuracy lost
    when all but those layers are. The count is doubled and then bisected. Raises BuildError where even
    leaving out all of them loses more.
    """
    drop = find_drop(())
    if drop <= max_drop:
        return Excluded((), drop)
    errors = {layer: find_error(layer) for layer in layers}
    ranked = sorted(layers, key=lambda layer: -errors[layer])
    too_few, count = 0, 1
    while (drop := find_drop(ranked[:count])) > max_drop:
        if count == len(ranked):
            raise BuildError(
                f"auto_exclude: with all {count} layers in float {drop:.2%} of the accuracy is lost, "
                f"max_drop is {max_drop:.2%}",
                "What is left is lost between the layers: raise max_drop, or try another calibration.",
            )
        too_few, count = count, min(2 * count, len(ranked))
    while count - too_few > 1:
        middle = (too_few + count) // 2
        middle_drop = find_drop(ranked[:middle])
        if middle_drop <= max_drop:
            count, drop = middle, middle_drop
        else:
            too_few = middle
    return Excluded(tuple(ranked[:count]), drop)


def _say_nothing(advance: float = 1, note: str = "") -> None:
    """A tick: a search does not know its length, so it tells no progress."""


def _max_drop(quantize: Quantize) -> float:
    if quantize.auto_exclude is None:
        raise ValueError("the variant asks for no auto_exclude")
    return quantize.auto_exclude.max_drop


def _mean_square(difference: Floats) -> float:
    return float(np.square(difference).mean())
