"""What outputs are worth: every number against one that was computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from host.compress.analysis import (
    LARGEST_MATRIX,
    MOST_MISCLASSIFIED,
    calibrate,
    compare_outputs,
    find_confidence,
    judge_outputs,
)
from host.compress.first_layer import read_first_filters
from host.specs.analysis import Quality
from tests.made_onnx import make_convolution

# True classes and predictions of eight images of three classes; "c" is never predicted.
LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 2], dtype=np.int64)
PREDICTED = np.array([0, 0, 0, 1, 1, 0, 0, 1])


def make_outputs(predicted: np.ndarray, scores: np.ndarray, classes: int = 3) -> np.ndarray:
    """Outputs whose largest is a score at the predicted class; the others are 0."""
    outputs = np.zeros((len(predicted), classes), dtype=np.float32)
    outputs[np.arange(len(predicted)), predicted] = scores
    return outputs


def score_of(confidence: float, classes: int = 3) -> float:
    """The score beside zeros whose softmax is this: e^s / (e^s + classes - 1)."""
    return float(np.log(confidence * (classes - 1) / (1 - confidence)))


@pytest.fixture
def quality() -> Quality:
    scores = np.array([score_of(value) for value in (0.95, 0.85, 0.75, 0.92, 0.65, 0.91, 0.5, 0.99)])
    return judge_outputs(make_outputs(PREDICTED, scores), LABELS, ("a", "b", "c"))


def test_the_matrix_counts_true_classes_in_rows(quality: Quality) -> None:
    assert quality.confusion == ((3, 1, 0), (1, 1, 0), (1, 1, 0))
    assert (quality.images, quality.right, quality.accuracy) == (8, 4, 0.5)


def test_recall_precision_and_support_follow_from_the_matrix(quality: Quality) -> None:
    assert [item.support for item in quality.classes] == [4, 2, 2]
    assert [item.predicted for item in quality.classes] == [5, 3, 0]
    assert [item.recall for item in quality.classes] == [0.75, 0.5, 0.0]
    assert [item.precision for item in quality.classes] == pytest.approx([3 / 5, 1 / 3, None])


def test_a_class_without_images_has_no_recall() -> None:
    quality = judge_outputs(make_outputs(np.array([0]), np.array([1.0])), np.array([0]), ("a", "b", "c"))
    assert quality.classes[1].recall is None
    assert quality.classes[1].precision is None


def test_confusions_are_all_cells_off_the_diagonal_by_count() -> None:
    labels = np.array([0, 0, 0, 0, 1, 2])
    predicted = np.array([1, 1, 0, 2, 0, 2])
    quality = judge_outputs(make_outputs(predicted, np.ones(6)), labels, ())
    told = [(item.true, item.predicted, item.count, item.share) for item in quality.confusions]
    assert told == [(0, 1, 2, 0.5), (0, 2, 1, 0.25), (1, 0, 1, 1.0)]


def test_confidence_is_the_largest_softmax() -> None:
    outputs = np.array([[0, 0], [np.log(3), 0], [1000, 0]], dtype=np.float32)
    np.testing.assert_allclose(find_confidence(outputs), [0.5, 0.75, 1.0], rtol=1e-6)


def test_right_and_wrong_answers_are_described_apart(quality: Quality) -> None:
    right, wrong = quality.right_confidence, quality.wrong_confidence
    assert (right.count, wrong.count) == (4, 4)
    assert right.mean == pytest.approx((0.95 + 0.85 + 0.75 + 0.65) / 4, abs=1e-6)
    assert right.median == pytest.approx(0.80, abs=1e-6)
    assert wrong.median == pytest.approx((0.91 + 0.92) / 2, abs=1e-6)
    assert sum(right.histogram) == sum(wrong.histogram) == 4
    assert wrong.histogram[18] == 2  # 0.91 and 0.92 of bins as wide as 0.05


def test_high_confidence_errors_are_counted_and_named_by_image(quality: Quality) -> None:
    errors = quality.high_confidence_errors
    assert (errors.threshold, errors.count) == (0.9, 3)
    assert (errors.share_of_images, errors.share_of_errors) == (3 / 8, 3 / 4)
    assert [item.image for item in quality.misclassified] == [7, 3, 5, 6]
    assert quality.misclassified[0].confidence == pytest.approx(0.99, abs=1e-6)
    assert (quality.misclassified[0].true, quality.misclassified[0].predicted) == (2, 1)


def test_no_more_errors_are_listed_than_are_shown() -> None:
    labels = np.zeros(100, dtype=np.int64)
    quality = judge_outputs(make_outputs(np.ones(100, dtype=int), np.ones(100)), labels, ())
    assert len(quality.misclassified) == MOST_MISCLASSIFIED
    assert quality.high_confidence_errors.count == 0


def test_the_calibration_error_by_hand() -> None:
    """Bins are (13/15, 14/15] with a gap of 0.9 - 0.5 and (8/15, 9/15] with one of 0.6 - 1."""
    confidence = np.array([0.9, 0.9, 0.6, 0.6])
    calibration = calibrate(confidence, np.array([True, False, True, True]))
    assert calibration.error == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)
    filled = [item for item in calibration.bins if item.count]
    assert [(item.count, item.accuracy) for item in filled] == [(2, 1.0), (2, 0.5)]
    assert [item.confidence for item in filled] == pytest.approx([0.6, 0.9])
    assert len(calibration.bins) == 15


def test_a_bin_is_closed_above_and_the_first_holds_zero() -> None:
    calibration = calibrate(np.array([0.0, 0.2, 1.0]), np.array([False, False, True]))
    assert [index for index, item in enumerate(calibration.bins) if item.count] == [0, 2, 14]


def test_a_perfectly_calibrated_model_has_no_error() -> None:
    confidence = np.repeat([0.25, 0.5, 0.75, 1.0], 4)
    is_right = np.array([1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1], dtype=bool)
    assert calibrate(confidence, is_right).error == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_the_calibration_error_is_a_share_and_every_answer_is_in_a_bin(
    answers: list[tuple[float, bool]],
) -> None:
    confidence, is_right = (np.array(values) for values in zip(*answers, strict=True))
    calibration = calibrate(confidence, is_right)
    assert 0 <= calibration.error <= 1
    assert sum(item.count for item in calibration.bins) == len(answers)
    for item in calibration.bins:
        assert item.confidence is None or item.low - 1e-9 <= item.confidence <= item.high + 1e-9
    overall = abs(is_right.mean() - confidence.mean())
    assert calibration.error >= overall - 1e-9  # no less than the gap without any bins


def test_answers_that_are_no_numbers_have_no_confidence() -> None:
    outputs = np.array([[np.nan, 1], [0, np.inf], [3, 0]], dtype=np.float32)
    quality = judge_outputs(outputs, np.array([1, 1, 0]), ("a", "b"))
    assert quality.not_finite == 2
    assert np.isfinite(find_confidence(outputs)).all()
    json.dumps(quality.model_dump(mode="json"), allow_nan=False)


def test_changes_name_what_dense_alone_and_the_variant_alone_get_right() -> None:
    dense = make_outputs(np.array([0, 0, 1, 1, 1, 1, 2, 0]), np.ones(8))
    changes = compare_outputs(make_outputs(PREDICTED, np.ones(8)), dense, LABELS, 4)
    assert (changes.lost, changes.gained) == ((5, 6), (2,))
    assert changes.accuracy_change == pytest.approx(-1 / 8)
    assert changes.agreement == 4 / 8
    assert changes.recall_changes == (0.25, -0.5, -0.5, None)


def test_a_record_survives_json(quality: Quality) -> None:
    assert Quality.model_validate_json(quality.model_dump_json()) == quality


def test_of_a_thousand_classes_every_confusion_is_listed_and_no_matrix_is_kept() -> None:
    rng = np.random.default_rng(0)
    outputs = rng.standard_normal((10_000, 1000), dtype=np.float32)
    quality = judge_outputs(outputs, rng.integers(0, 1000, 10_000), ())
    assert len(quality.classes) == 1000 > LARGEST_MATRIX
    assert quality.confusion is None
    wrong = sum(item.count for item in quality.confusions)
    assert wrong + sum(item.right for item in quality.classes) == 10_000


def test_filters_are_the_first_weights_of_the_file(tmp_path: Path) -> None:
    filters = read_first_filters(onnx.load(make_convolution(tmp_path / "made.onnx")))
    assert filters is not None
    assert filters.shape == (4, 3, 3, 3)
    assert filters.dtype == np.float32


def quantized_filters(values: np.ndarray, scale: np.ndarray, zero: np.ndarray, axis: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("DequantizeLinear", ["values", "scale", "zero"], ["weight"], axis=axis),
        helper.make_node("Conv", ["x", "weight"], ["y"]),
    ]
    tensors = {"values": values, "scale": scale, "zero": zero}
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    return helper.make_model(graph)


def test_int8_filters_are_scaled_back_each_by_its_own_scale() -> None:
    values = np.array([[[[1, -2]]], [[[3, 4]]]], dtype=np.int8)
    scale, zero = np.array([0.5, 2.0], dtype=np.float32), np.array([1, 0], dtype=np.int8)
    filters = read_first_filters(quantized_filters(values, scale, zero, axis=0))
    assert filters is not None
    np.testing.assert_array_equal(filters, [[[[0, -1.5]]], [[[6, 8]]]])


def test_int8_filters_of_one_scale() -> None:
    values = np.array([[[[1, -2]]]], dtype=np.int8)
    filters = read_first_filters(
        quantized_filters(values, np.array(0.5, np.float32), np.array(0, np.int8), axis=1)
    )
    np.testing.assert_array_equal(filters, [[[[0.5, -1.0]]]])


def test_a_model_without_a_convolution_has_no_filters(tmp_path: Path) -> None:
    model = onnx.load(make_convolution(tmp_path / "made.onnx"))
    del model.graph.node[0]
    assert read_first_filters(model) is None
