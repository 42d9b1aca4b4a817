"""Where a model is right, where it is wrong and how sure it was, from its outputs and the true classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from host.compress.data import Floats
from host.compress.labelled_images import Labels
from host.specs.analysis import (
    Calibration,
    CalibrationBin,
    Changes,
    ClassScore,
    Confidence,
    Confusion,
    HighConfidenceErrors,
    Misclassified,
    Quality,
)

Matrix = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]

CALIBRATION_BINS = 15
"""As in Guo et al. (2017), On Calibration of Modern Neural Networks."""

HISTOGRAM_BINS = 20

SURE = 0.9
"""A wrong answer with this confidence and more is one that no threshold would have caught."""

MOST_MISCLASSIFIED = 36
"""How many wrong answers are listed, and shown."""

LARGEST_MATRIX = 100
"""Classes up to which the matrix is written whole: a thousand of them have a million cells, nearly all 0."""


def judge_outputs(outputs: Floats, labels: Labels, names: Sequence[str]) -> Quality:
    """What the outputs (N, classes) of a model are worth, for the true classes (N,).

    The outputs are scores, as cross entropy takes them: what is called confidence is the largest value of
    their softmax. Classes without a name are called by their index.
    """
    classes = max(outputs.shape[1], len(names), int(labels.max()) + 1)
    predicted = outputs.argmax(axis=1).astype(np.int64)
    confidence = find_confidence(outputs)
    is_right: Truths = np.equal(predicted, labels)
    matrix = count_confusion(labels, predicted, classes)
    titles = [*names, *(str(index) for index in range(len(names), classes))]
    return Quality(
        images=len(labels),
        right=int(is_right.sum()),
        accuracy=float(is_right.mean()),
        not_finite=int((~np.isfinite(outputs)).any(axis=1).sum()),
        classes=score_classes(matrix, titles),
        confusion=tuple(map(tuple, matrix.tolist())) if classes <= LARGEST_MATRIX else None,
        confusions=list_confusions(matrix),
        right_confidence=describe_confidence(confidence[is_right]),
        wrong_confidence=describe_confidence(confidence[~is_right]),
        calibration=calibrate(confidence, is_right),
        high_confidence_errors=count_sure_errors(~is_right, confidence),
        misclassified=list_misclassified(labels, predicted, confidence),
    )


def find_confidence(outputs: Floats) -> Doubles:
    """The largest softmax of each row (N,); 0 for a row that holds anything but finite numbers."""
    is_finite: Truths = np.logical_and.reduce(np.isfinite(outputs), axis=1)
    scores = np.where(is_finite[:, None], outputs, 0).astype(np.float64)
    shares: Doubles = np.exp(scores - scores.max(axis=1, keepdims=True)).sum(axis=1)
    return np.where(is_finite, 1 / shares, 0.0)


def count_confusion(labels: Labels, predicted: Labels, classes: int) -> Matrix:
    """How many images of the class of a row were taken for the class of a column."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def score_classes(matrix: Matrix, names: Sequence[str]) -> tuple[ClassScore, ...]:
    """Recall, precision and support of every class."""
    support, predicted, right = matrix.sum(axis=1), matrix.sum(axis=0), matrix.diagonal()
    return tuple(
        ClassScore(
            index=index,
            name=name,
            support=int(support[index]),
            predicted=int(predicted[index]),
            right=int(right[index]),
            recall=_divide(right[index], support[index]),
            precision=_divide(right[index], predicted[index]),
        )
        for index, name in enumerate(names)
    )


def list_confusions(matrix: Matrix) -> tuple[Confusion, ...]:
    """Every pair of classes that was confused, most frequent first."""
    support = matrix.sum(axis=1)
    true, predicted = np.nonzero(matrix * (1 - np.eye(len(matrix), dtype=np.int64)))
    order = np.argsort(-matrix[true, predicted], kind="stable")
    return tuple(
        Confusion(
            true=int(row),
            predicted=int(column),
            count=int(matrix[row, column]),
            share=float(matrix[row, column] / support[row]),
        )
        for row, column in zip(true[order], predicted[order], strict=True)
    )


def describe_confidence(confidence: Doubles) -> Confidence:
    """How sure a group of answers was."""
    bins = np.minimum((confidence * HISTOGRAM_BINS).astype(np.intp), HISTOGRAM_BINS - 1)
    is_empty = not len(confidence)
    return Confidence(
        count=len(confidence),
        mean=None if is_empty else float(confidence.mean()),
        median=None if is_empty else float(np.median(confidence)),
        histogram=tuple(np.bincount(bins, minlength=HISTOGRAM_BINS).tolist()),
    )


def calibrate(confidence: Doubles, is_right: Truths) -> Calibration:
    """The expected calibration error, and the bins of the reliability diagram.

    Σ (count / N) · |accuracy - confidence| over bins of equal width, open below and closed above, as in
    Guo et al. (2017), equation 3. A confidence of 0 is in the first bin.
    """
    at = np.clip(np.ceil(confidence * CALIBRATION_BINS) - 1, 0, CALIBRATION_BINS - 1).astype(np.intp)
    counts = np.bincount(at, minlength=CALIBRATION_BINS)
    sure = np.bincount(at, weights=confidence, minlength=CALIBRATION_BINS)
    right = np.bincount(at, weights=is_right, minlength=CALIBRATION_BINS)
    bins = tuple(
        CalibrationBin(
            low=index / CALIBRATION_BINS,
            high=(index + 1) / CALIBRATION_BINS,
            count=int(counts[index]),
            confidence=_divide(sure[index], counts[index]),
            accuracy=_divide(right[index], counts[index]),
        )
        for index in range(CALIBRATION_BINS)
    )
    return Calibration(error=float(np.abs(right - sure).sum() / len(confidence)), bins=bins)


def count_sure_errors(is_wrong: Truths, confidence: Doubles) -> HighConfidenceErrors:
    """How many of the wrong answers were given with high confidence."""
    is_sure = is_wrong & (confidence >= SURE)
    return HighConfidenceErrors(
        threshold=SURE,
        count=int(is_sure.sum()),
        share_of_images=float(is_sure.mean()),
        share_of_errors=_divide(is_sure.sum(), is_wrong.sum()),
    )


def list_misclassified(labels: Labels, predicted: Labels, confidence: Doubles) -> tuple[Misclassified, ...]:
    """The wrong answers of highest confidence, the highest first."""
    wrong = np.flatnonzero(predicted != labels)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_MISCLASSIFIED]
    return tuple(
        Misclassified(
            image=int(image),
            true=int(labels[image]),
            predicted=int(predicted[image]),
            confidence=float(confidence[image]),
        )
        for image in surest
    )


def compare_outputs(outputs: Floats, dense: Floats, labels: Labels, classes: int) -> Changes:
    """What became of the dense model's answers; all outputs are (N, classes), in the same order."""
    now, before = outputs.argmax(axis=1), dense.argmax(axis=1)
    is_right, was_right = now == labels, before == labels
    support = np.bincount(labels, minlength=classes)
    change = np.bincount(labels, weights=is_right.astype(int) - was_right.astype(int), minlength=classes)
    return Changes(
        accuracy_change=float(is_right.mean() - was_right.mean()),
        agreement=float((now == before).mean()),
        lost=tuple(np.flatnonzero(was_right & ~is_right).tolist()),
        gained=tuple(np.flatnonzero(is_right & ~was_right).tolist()),
        recall_changes=tuple(_divide(*pair) for pair in zip(change, support, strict=True)),
    )


def _divide(part: float | np.generic, whole: float | np.generic) -> float | None:
    return float(part) / float(whole) if whole else None
