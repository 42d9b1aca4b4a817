"""Three answers to "which of these builds?": the most accurate, the smallest, and the best balance."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from host.specs.artifact import Artifact


class Picks(NamedTuple):
    """Variants of one model. `smallest` and `balanced` go by packed bytes."""

    accurate: Artifact
    smallest: Artifact
    balanced: Artifact


def pick_builds(
    artifacts: Sequence[Artifact], baselines: Collection[str], min_accuracy: float | None = None
) -> Picks | None:
    """The picks among compressed variants of one model; None where fewer than two come into question.

    `baselines` are the ids of dense variants, which do not count; nor does what lies below `min_accuracy`.
    The balance is the variant nearest to the point that is as accurate as the best and as small as the
    smallest, with error and the logarithm of the size each scaled to the range of the candidates.
    """
    fit = [
        (artifact.accuracy, artifact.packed.size, artifact)
        for artifact in artifacts
        if artifact.variant_id not in baselines
        and artifact.accuracy is not None
        and artifact.packed is not None
        and artifact.accuracy >= (min_accuracy or 0)
    ]
    if len(fit) < 2:
        return None
    errors = _scale([-accuracy for accuracy, _, _ in fit])
    sizes = _scale([math.log(size) for _, size, _ in fit])
    distances = [math.hypot(error, size) for error, size in zip(errors, sizes, strict=True)]
    return Picks(
        accurate=max(fit, key=lambda item: (item[0], -item[1]))[2],
        smallest=min(fit, key=lambda item: (item[1], -item[0]))[2],
        balanced=fit[distances.index(min(distances))][2],
    )


def _scale(values: Sequence[float]) -> list[float]:
    """The values from 0, the least, to 1; all 0 where they are equal."""
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.0 for value in values]
