"""Scales of quantized tensors, each kept once: the scale of a bias is its weight's times its input's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Scales = npt.NDArray[np.float32]
Place = tuple[int, int]
"""Where a vector begins in the pool, and the bits of the float32 that it is multiplied by; 0 for none."""


def pool_scales(vectors: Sequence[Scales], factors: Scales) -> tuple[Scales, list[Place]]:
    """One vector that holds what all others are made of, and the place of each.

    `factors` are the scalars that products may be made with. Every product is checked bit for bit.
    """
    products = _find_products(vectors, np.unique(factors[np.isfinite(factors) & (factors > 0)]))
    pool: list[Scales] = []
    begins: dict[bytes, int] = {}
    size = 0
    for number, vector in enumerate(vectors):
        if number not in products and vector.tobytes() not in begins:
            begins[vector.tobytes()] = size
            pool.append(vector)
            size += vector.size
    places = []
    for number in range(len(vectors)):
        source, factor = products.get(number, (number, 0))
        places.append((begins[vectors[source].tobytes()], factor))
    return np.concatenate([*pool, np.empty(0, np.float32)]), places


def _find_products(vectors: Sequence[Scales], factors: Scales) -> dict[int, tuple[int, int]]:
    """For each vector that is another one times a factor: that one, and the factor's bits."""
    alike: dict[int, list[int]] = defaultdict(list)
    for number, vector in enumerate(vectors):
        if np.isfinite(vector).all():
            alike[vector.size].append(number)
    products: dict[int, tuple[int, int]] = {}
    sources: set[int] = set()
    for group in alike.values():
        for number in group:
            others = [other for other in group if other != number and other not in products]
            found = None if number in sources else _find_product(number, others, vectors, factors)
            if found:
                products[number] = found
                sources.add(found[0])
    return products


def _find_product(
    number: int, others: Sequence[int], vectors: Sequence[Scales], factors: Scales
) -> tuple[int, int] | None:
    if not others or not factors.size:
        return None
    vector = vectors[number]
    at = int(np.argmax(vector))
    firsts = np.array([vectors[other][at] for other in others])
    with np.errstate(over="ignore", under="ignore"):
        for row, column in np.argwhere(firsts[:, None] * factors == vector[at]):
            if (vectors[others[row]] * factors[column]).tobytes() == vector.tobytes():
                return others[row], int(factors[column].view(np.uint32))
    return None
