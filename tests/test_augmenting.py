from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from host.compress.augmenting import augment_pixels
from host.specs.recipe import Augment

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 3, 7, 9), dtype=np.uint8)


def augment(pixels: Any, seed: int = 0, **settings: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return augment_pixels(pixels, Augment(**settings))


def test_nothing_asked_changes_nothing_and_draws_nothing() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    assert augment_pixels(PIXELS, Augment()) is PIXELS
    assert torch.rand(1) == expected


@pytest.mark.parametrize("settings", [{"crop": 2}, {"flip": True}, {"cutout": 3}, {"crop": 2, "flip": True}])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_shape_and_type_stay_and_the_seed_decides(settings: dict[str, Any], dtype: Any) -> None:
    pixels = PIXELS.astype(dtype)
    before = pixels.copy()
    first, again, other = (augment(pixels, seed, **settings) for seed in (0, 0, 1))
    assert (first.shape, first.dtype) == (pixels.shape, pixels.dtype)
    assert (first == again).all()
    assert (first != other).any()
    assert (pixels == before).all()


def test_flipping_mirrors_about_half_of_the_images_from_left_to_right() -> None:
    flipped = augment(PIXELS, flip=True)
    is_mirrored = [(new == old[..., ::-1]).all() for new, old in zip(flipped, PIXELS, strict=True)]
    is_same = [(new == old).all() for new, old in zip(flipped, PIXELS, strict=True)]
    assert all(one != other for one, other in zip(is_mirrored, is_same, strict=True))
    assert 10 <= sum(is_mirrored) <= 30


def test_every_image_is_a_window_of_itself_with_mirrored_edges_and_every_offset_is_drawn() -> None:
    pixels = np.repeat(PIXELS[:1], 300, axis=0)
    padded = np.pad(PIXELS[0], ((0, 0), (2, 2), (2, 2)), mode="reflect")
    windows = {padded[:, y : y + 7, x : x + 9].tobytes() for y in range(5) for x in range(5)}
    assert {one.tobytes() for one in augment(pixels, crop=2)} == windows


@pytest.mark.parametrize("shape", [(4, 1, 3, 3), (4, 1, 1, 5), (4, 1, 1, 1)])
def test_images_smaller_than_the_crop_are_shifted_as_far_as_a_mirror_shows(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    shifted = augment(pixels, crop=64)
    assert shifted.shape == shape
    assert all(set(new.ravel()) <= set(old.ravel()) for new, old in zip(shifted, pixels, strict=True))


@pytest.mark.parametrize(("side", "most"), [(1, 1), (2, 4), (3, 9), (40, 63)])
def test_one_square_of_each_image_is_hidden_behind_its_mean_colour(side: int, most: int) -> None:
    pixels = np.repeat(PIXELS[:1].astype(np.float32), 300, axis=0)
    colour = pixels[0].mean(axis=(1, 2))
    hidden = (augment(pixels, cutout=side) != pixels).any(axis=1)
    assert hidden.any(axis=(1, 2)).all()
    assert hidden.sum(axis=(1, 2)).max() == most
    assert hidden.any(axis=0).all(), "some place is never hidden"
    for new, where in zip(augment(pixels, cutout=side), hidden, strict=True):
        rows, columns = np.nonzero(where.any(axis=1))[0], np.nonzero(where.any(axis=0))[0]
        assert where.sum() == len(rows) * len(columns), "not a rectangle"
        np.testing.assert_allclose(new[:, where], np.repeat(colour[:, None], where.sum(), axis=1), rtol=1e-6)
