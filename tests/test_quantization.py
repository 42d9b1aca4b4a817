from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from host.compress.architectures import load_model
from host.compress.data import Split, load_split
from host.compress.evaluation import run_images, score_accuracy, score_agreement
from host.compress.export import export_model
from host.compress.quantization import (
    LEAST_AGREEMENT,
    Calibrated,
    check_above_chance,
    check_agreement,
    count_lost_weights,
    pick_calibration,
    pool_globally,
    quantize_file,
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
    fit(model, split.training, recipe.training, tick=lambda advance=1, note="": None)
    path = tmp_path_factory.mktemp("source") / "dense.onnx"
    path.write_bytes(serialize_model(export_model(model, split.test.x[:8], 18, "tiny")))
    return path


def make_int8(source: Path, split: Split, **changes: Any) -> onnx.ModelProto:
    quantize = Quantize(scheme="static-int8", **changes)
    return quantize_file(source, pick_calibration(split.training.x, quantize), quantize)


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


def test_a_small_training_set_calibrates_with_all_that_it_has(split: Split) -> None:
    few = split.training.take(7).x
    assert pick_calibration(few, Quantize(scheme="static-int8")).shape == few.shape


def test_a_broken_scale_is_an_error_that_names_the_variant(source: Path, split: Split) -> None:
    model = make_int8(source, split)
    check_agreement(source, serialize_model(model), split.test.x, "tiny int8")
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear").input[1]
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == first)
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1e4), first))
    with pytest.raises(BuildError, match="tiny int8: quantized, it names the same class") as caught:
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


@pytest.mark.parametrize(
    ("changes", "stored", "is_symmetric"),
    [
        ({"target": "x86"}, np.uint8, False),
        ({"target": "arm64"}, np.int8, False),
        ({"target": "tensorrt"}, np.int8, True),
        ({"target": "arm64", "activation": "uint8"}, np.uint8, False),
    ],
)
def test_a_target_gets_the_activations_that_it_runs_fastest(
    source: Path, split: Split, changes: dict[str, Any], stored: type, is_symmetric: bool
) -> None:
    model = make_int8(source, split, **changes)
    zeros = [zero for _, zero in scaled_by(model, False)]
    assert {zero.dtype for zero in zeros} == {np.dtype(stored)}
    assert any(zero.any() for zero in zeros) is not is_symmetric
    answers = run_images(serialize_model(model), split.test.x)
    assert score_agreement(answers, run_images(source, split.test.x)) > 0.9


def test_batches_of_calibration_images_give_the_ranges_of_single_ones(
    source: Path, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = serialize_model(make_int8(source, split, calibration_images=37))
    monkeypatch.setattr("host.compress.quantization.BATCH", 1)
    assert serialize_model(make_int8(source, split, calibration_images=37)) == together


def float_weights(model: onnx.ModelProto) -> set[str]:
    floats = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    return {node.input[1] for node in model.graph.node if node.op_type in ("Conv", "Gemm")} & floats


@pytest.mark.parametrize("scheme", ["static-int8", "dynamic-int8"])
def test_an_excluded_layer_keeps_its_float_weights(source: Path, split: Split, scheme: str) -> None:
    quantize = Quantize.model_validate({"scheme": scheme, "exclude": "3"})
    assert float_weights(quantize_file(source, split.training.x[:16], quantize)) == {"3.weight"}
    both = quantize_file(source, split.training.x[:16], quantize, excluded=["8"])
    assert float_weights(both) == {"3.weight", "8.weight"}


def test_a_pattern_that_names_no_layer_is_an_error_with_the_nearest(source: Path, split: Split) -> None:
    with pytest.raises(BuildError, match=r"exclude: no layer is named 33") as caught:
        make_int8(source, split, exclude="33")
    assert "3" in str(caught.value.hint)


def test_one_layer_alone_can_be_quantized(source: Path, split: Split) -> None:
    calibrated = Calibrated(source, split.training.x[:16], Quantize(scheme="static-int8"))
    assert calibrated.list_layers() == ("0", "3", "8")
    assert float_weights(calibrated.write(only=["3"])) == {"0.weight", "8.weight"}


def test_dynamic_int8_has_integer_layers_and_the_models_answers(source: Path, split: Split) -> None:
    model = quantize_file(source, split.training.x[:1], Quantize(scheme="dynamic-int8"))
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("ConvInteger") == 2
    assert operators.count("MatMulInteger") == 1
    answers, floats = run_images(serialize_model(model), split.test.x), run_images(source, split.test.x)
    assert score_agreement(answers, floats) > 0.97
    assert np.abs(answers - floats).mean() < 0.02 * np.abs(floats).max()


def test_fp16_has_half_the_bytes_and_answers_in_float32(source: Path, split: Split) -> None:
    model = quantize_file(source, split.training.x[:1], Quantize(scheme="fp16"))
    data = serialize_model(model)
    assert len(data) < 0.65 * source.stat().st_size
    assert {item.type.tensor_type.elem_type for item in (*model.graph.input, *model.graph.output)} == {
        TensorProto.FLOAT
    }
    answers, floats = run_images(data, split.test.x), run_images(source, split.test.x)
    assert np.abs(answers - floats).max() < 0.01 * np.abs(floats).max()
    assert count_lost_weights(source, model) == 0


@pytest.mark.parametrize(("keepdims", "shape"), [(0, [None, 3]), (1, [None, 3, 1, 1])])
def test_the_mean_over_an_image_becomes_a_pool_with_the_same_answers(
    keepdims: int, shape: list[int | None], tmp_path: Path
) -> None:
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], "mean", keepdims=keepdims)
    axes = numpy_helper.from_array(np.array([-1, -2]), "axes")
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, extents)
        for name, extents in (("x", [None, 3, 4, 5]), ("y", shape))
    ]
    graph = helper.make_graph([node], "model", ends[:1], ends[1:], [axes], value_info=ends[:1])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    pooled = pool_globally(model)
    assert pooled.graph.node[0].op_type == "GlobalAveragePool"
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    expected = run_images(serialize_model(model), x)
    np.testing.assert_allclose(run_images(serialize_model(pooled), x), expected, rtol=1e-5)


def test_a_model_that_only_guesses_is_an_error() -> None:
    check_above_chance(0.16, 0.9, 10, "tiny w4a4")
    check_above_chance(0.1, 0.12, 10, "it had learned nothing before")
    with pytest.raises(BuildError, match=r"tiny w4a4: quantized, it is right on 14.0%"):
        check_above_chance(0.14, 0.9, 10, "tiny w4a4")
