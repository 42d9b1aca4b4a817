from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from host.compress.data import interpolation_matrix, load_split, prepare_pixels, split_indices
from host.errors import BuildError
from host.specs.recipe import DataSet, Input
from tests.tiny_plans import make_recipe

LABELS = np.repeat(np.arange(10), 40).astype(np.int64)


def test_the_split_is_fixed_by_its_seed() -> None:
    first, again = (split_indices(LABELS, DataSet(name="digits", seed=3)) for _ in range(2))
    other = split_indices(LABELS, DataSet(name="digits", seed=4))
    assert all((one == two).all() for one, two in zip(first, again, strict=True))
    assert not (first[1] == other[1]).all()


def test_no_image_is_on_both_sides_and_none_is_lost() -> None:
    training, test = split_indices(LABELS, DataSet(name="digits", test_fraction=0.3))
    assert sorted([*training, *test]) == list(range(400))


def test_every_class_has_the_same_share_on_both_sides() -> None:
    training, test = split_indices(LABELS, DataSet(name="digits", test_fraction=0.25))
    assert np.bincount(LABELS[test]).tolist() == [10] * 10
    assert np.bincount(LABELS[training]).tolist() == [30] * 10


def test_a_fraction_too_small_for_every_class_is_an_error() -> None:
    with pytest.raises(BuildError, match=r"test_fraction 0\.001"):
        split_indices(LABELS, DataSet(name="digits", test_fraction=0.001))


@pytest.mark.parametrize("size", [(32, 32), (8, 8), (5, 13), (1, 1)])
def test_resizing_is_torchs_bilinear_resizing(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    ours = prepare_pixels(pixels, Input(shape=(1, *size)))
    theirs = functional.interpolate(torch.from_numpy(pixels)[:, None], size, mode="bilinear")
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)


def test_every_row_of_the_interpolation_is_an_average() -> None:
    np.testing.assert_allclose(interpolation_matrix(8, 32).sum(axis=1), 1, rtol=1e-6)


def test_pixels_are_repeated_over_channels_and_normalised_in_each() -> None:
    seen = Input(shape=(3, 8, 8), mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    prepared = prepare_pixels(np.full((2, 8, 8), 0.5, dtype=np.float32), seen)
    assert prepared.shape == (2, 3, 8, 8)
    assert prepared[0, :, 0, 0].tolist() == [0.5, 0.0, -2.0]


def test_digits_are_1797_real_images_in_unit_range() -> None:
    split = load_split(make_recipe(input={"shape": [1, 8, 8]}, architecture="torchvision:resnet18"))
    assert (len(split.training), len(split.test)) == (1437, 360)
    pixels = np.concatenate([split.training.x, split.test.x])
    assert (pixels.min(), pixels.max(), pixels.dtype) == (0, 1, np.float32)
    assert len(np.unique(pixels.reshape(1797, -1), axis=0)) > 1700
