"""Where a variant is right, where it is wrong and how sure it was: numbers over the whole test set.

Classes are named by their index in `Quality.classes`, images by their number in the test set. A share or a
mean of nothing is None. Changes are those of the variant, seen from the dense model.
"""

from __future__ import annotations

from pydantic import Field

from host.specs.artifact import PackedParts, Step
from host.specs.record import Record

FORMAT = 1
"""Raised when a key of the JSON changes its meaning."""


class ClassScore(Record):
    """One class: `support` images are of it, `predicted` images were taken for it, `right` are both.

    `recall` is right / support, which is the accuracy on this class; `precision` is right / predicted.
    """

    index: int
    name: str
    support: int
    predicted: int
    right: int
    recall: float | None
    precision: float | None


class Confusion(Record):
    """So many images of the class `true` were taken for `predicted`; `share` is of all images of `true`."""

    true: int
    predicted: int
    count: int
    share: float


class Misclassified(Record):
    """One image with a wrong answer."""

    image: int
    true: int
    predicted: int
    confidence: float


class Confidence(Record):
    """How sure a group of answers was; `histogram` counts them in bins of equal width from 0 to 1."""

    count: int
    mean: float | None
    median: float | None
    histogram: tuple[int, ...]


class CalibrationBin(Record):
    """Answers with a confidence above `low` and up to `high`: how sure they were, and how many were right."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


class Calibration(Record):
    """`error` is the expected calibration error (Guo et al., 2017): the bins' mean gap, by their counts."""

    error: float
    bins: tuple[CalibrationBin, ...]


class HighConfidenceErrors(Record):
    """Wrong answers with a confidence of `threshold` and more."""

    threshold: float
    count: int
    share_of_images: float
    share_of_errors: float | None


class Quality(Record):
    """What one file answers to the test images.

    `confusion[true][predicted]` counts images; it is None where there are very many classes. `confusions`
    lists its cells off the diagonal that are not zero, most frequent first, and is always whole.
    `not_finite` answers hold values that are no numbers; their confidence counts as 0. `misclassified`
    are the wrong answers of highest confidence, the highest first.
    """

    images: int
    right: int
    accuracy: float
    not_finite: int
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    confusions: tuple[Confusion, ...]
    right_confidence: Confidence
    wrong_confidence: Confidence
    calibration: Calibration
    high_confidence_errors: HighConfidenceErrors
    misclassified: tuple[Misclassified, ...]


class Sizes(Record):
    """Bytes of the file as it is, after gzip, and in our own packing."""

    file: int
    gzip: int
    packed: int | None = None
    packed_parts: PackedParts | None = None


class Filters(Record):
    """The first convolution's weights: `count` filters over `inputs` channels of `height` × `width`."""

    count: int
    inputs: int
    height: int
    width: int


class AnalyzedFile(Record):
    """One built variant, what it costs on paper, and how good it is."""

    variant: str
    variant_id: str
    sha256: str
    precision: str
    params: int | None
    params_nonzero: int | None
    macs: int | None
    sparsity: float | None
    sparsity_target: float | None
    sizes: Sizes
    first_filters: Filters | None
    quality: Quality


class Changes(Record):
    """What became of the dense model's answers.

    `lost` images were right and are wrong now, `gained` ones the other way round; `agreement` is the share
    of images that both name alike. `recall_changes` has one value for each class.
    """

    accuracy_change: float
    agreement: float
    lost: tuple[int, ...]
    gained: tuple[int, ...]
    recall_changes: tuple[float | None, ...]


class Analysis(Record):
    """One variant, and the dense model beside it where that is built; `is_dense` where the variant is that.

    `steps` are those of its pruning, `notes` are sentences on what its build decided.
    """

    format: int = Field(FORMAT, ge=1)
    model: str
    architecture: str
    data: str
    is_dense: bool
    variant: AnalyzedFile
    dense: AnalyzedFile | None = None
    changes: Changes | None = None
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
