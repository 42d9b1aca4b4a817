"""Three answers to "which of these?": the most accurate, the smallest, and the best balance. Pure."""

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


class Places(NamedTuple):
    """Which of a list are picked, by their places in it."""

    accurate: int
    smallest: int
    balanced: int


def pick_builds(
    artifacts: Sequence[Artifact], baselines: Collection[str], min_accuracy: float | None = None
) -> Picks | None:
    """The picks among compressed variants of one model; None where fewer than two come into question.

    `baselines` are the ids of dense variants, which do not count; nor does what lies below `min_accuracy`.
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
    places = pick_places([accuracy for accuracy, _, _ in fit], [size for _, size, _ in fit])
    return Picks(*(fit[place][2] for place in places))


def pick_places(accuracies: Sequence[float], sizes: Sequence[float], *other_costs: Sequence[float]) -> Places:
    """The picks among candidates of one model, each with its accuracy, its size and what else it costs.

    The balance is the candidate nearest to the point that is as accurate as the best, as small as the
    smallest and as cheap as the cheapest, with error and the logarithm of each cost scaled to the range of
    the candidates.
    """
    scaled = [scale([-accuracy for accuracy in accuracies])]
    scaled += [scale([math.log(cost) for cost in costs]) for costs in (sizes, *other_costs)]
    distances = [math.hypot(*point) for point in zip(*scaled, strict=True)]
    listed = range(len(accuracies))
    return Places(
        accurate=max(listed, key=lambda at: (accuracies[at], -sizes[at])),
        smallest=min(listed, key=lambda at: (sizes[at], -accuracies[at])),
        balanced=distances.index(min(distances)),
    )


def scale(values: Sequence[float]) -> list[float]:
    """The values from 0, the least, to 1; all 0 where they are equal."""
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.0 for value in values]
