from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from host.compress.architectures import load_model
from host.compress.data import Split, load_split
from host.compress.evaluation import run_images, score_accuracy, score_agreement
from host.compress.export import export_model
from host.compress.quantization import (
    LEAST_AGREEMENT,
    check_agreement,
    count_lost_weights,
    pick_calibration,
    quantize_model,
)
from host.compress.stripping import serialize_model
from host.compress.training import fit
from host.errors import BuildError
from host.specs.variant import Quantize
from tests.tiny_plans import make_recipe


@pytest.fixture(scope="module")
def split() -> Split:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(__file__).parent)
        return load_split(make_recipe())


@pytest.fixture(scope="module")
def source(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained float32 file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(__file__).parent)
        recipe = make_recipe()
        model = load_model(recipe)
    assert recipe.training is not None
    tick = lambda advance=1, note="": None  # noqa: E731
    fit(model, split.training, recipe.training, epochs=3, learning_rate=0.1, tick=tick)
    path = tmp_path_factory.mktemp("source") / "dense.onnx"
    path.write_bytes(serialize_model(export_model(model, split.test.x[:8], 18, "tiny")))
    return path


def make_int8(source: Path, split: Split, **changes: Any) -> onnx.ModelProto:
    quantize = Quantize(scheme="static-int8", **changes)
    return quantize_model(source, pick_calibration(split.training.x, quantize), quantize)


def scaled_by(model: onnx.ModelProto, of_weights: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scale and zero point of every dequantized weight, or of every quantized activation."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kind = "DequantizeLinear" if of_weights else "QuantizeLinear"
    return [
        (values[node.input[1]], values[node.input[2]])
        for node in model.graph.node
        if node.op_type == kind and (not of_weights or values.get(node.input[0], np.zeros(1)).ndim >= 2)
    ]


@pytest.mark.parametrize("calibration", ["minmax", "entropy", "percentile"])
@pytest.mark.parametrize("activation", ["uint8", "int8"])
def test_every_scheme_keeps_the_models_answers(
    source: Path, split: Split, calibration: str, activation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_int8(source, split, calibration=calibration, activation=activation)
    answers = run_images(serialize_model(model), split.test.x)
    floats = run_images(source, split.test.x)
    assert score_agreement(answers, floats) > 0.9
    assert score_accuracy(answers, split.test.y) > score_accuracy(floats, split.test.y) - 0.05
    assert capsys.readouterr().out == ""  # stdout belongs to a command's data


@pytest.mark.parametrize(("activation", "zero_points"), [("uint8", np.uint8), ("int8", np.int8)])
def test_weights_are_symmetric_per_channel_and_activations_per_tensor(
    source: Path, split: Split, activation: str, zero_points: type
) -> None:
    model = make_int8(source, split, activation=activation)
    weights, activations = scaled_by(model, True), scaled_by(model, False)
    assert sorted(len(scale) for scale, _ in weights) == [10, 16, 32]
    assert all(zero.dtype == np.int8 and not zero.any() for _, zero in weights)
    assert all(scale.size == 1 and zero.dtype == zero_points for scale, zero in activations)
    assert activation == "uint8" or not any(zero.any() for _, zero in activations)


def test_equal_sources_give_equal_bytes_in_any_folder(source: Path, split: Split, tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(source.read_bytes())
    one, other = (serialize_model(make_int8(path, split)) for path in (source, copy))
    assert one == other
    assert b"/tmp" not in one


def test_more_images_than_there_are_is_an_error(split: Split) -> None:
    with pytest.raises(BuildError, match="1438 asked for, the training set has 1437"):
        pick_calibration(split.training.x, Quantize(scheme="static-int8", calibration_images=1438))


def test_a_broken_scale_is_an_error_that_names_the_variant(source: Path, split: Split) -> None:
    model = make_int8(source, split)
    check_agreement(source, serialize_model(model), split.test.x, "tiny int8")
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear").input[1]
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == first)
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1e4), first))
    with pytest.raises(BuildError, match="tiny int8: int8 names the same class") as caught:
        check_agreement(source, serialize_model(model), split.test.x, "tiny int8")
    assert f"{LEAST_AGREEMENT:.0%}" in str(caught.value)


def test_weights_that_are_rounded_to_zero_are_counted(source: Path, split: Split) -> None:
    model = make_int8(source, split)
    tensors = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    zeros = sum(
        int((tensor == 0).sum()) for tensor in tensors if tensor.dtype == np.int8 and tensor.ndim >= 2
    )
    assert zeros > 0
    assert count_lost_weights(source, model) == zeros  # the float32 file has no zeros among its weights
