from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from host.compress.data import Images, interpolation_matrix, load_split, prepare_pixels
from host.compress.labelled_images import split_indices
from host.errors import BuildError
from host.specs.recipe import Input
from tests.tiny_plans import make_recipe

LABELS = np.repeat(np.arange(10), 40).astype(np.int64)


def test_the_split_is_fixed_by_its_seed() -> None:
    first, again = (split_indices(LABELS, 0.2, 3, "test_fraction") for _ in range(2))
    other = split_indices(LABELS, 0.2, 4, "test_fraction")
    assert all((one == two).all() for one, two in zip(first, again, strict=True))
    assert not (first[1] == other[1]).all()


def test_no_image_is_on_both_sides_and_none_is_lost() -> None:
    training, test = split_indices(LABELS, 0.3, 0, "test_fraction")
    assert sorted([*training, *test]) == list(range(400))


def test_every_class_has_the_same_share_on_both_sides() -> None:
    training, test = split_indices(LABELS, 0.25, 0, "test_fraction")
    assert np.bincount(LABELS[test]).tolist() == [10] * 10
    assert np.bincount(LABELS[training]).tolist() == [30] * 10


def test_a_fraction_too_small_for_every_class_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(BuildError, match=r"data\.validation_fraction 0\.001"):
        load_split(make_recipe(data={"name": "digits", "validation_fraction": 0.001}))


@pytest.mark.parametrize("size", [(32, 32), (8, 8), (5, 13), (8, 3), (3, 8), (1, 1)])
def test_resizing_is_torchs_bilinear_resizing(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)
    ours = prepare_pixels(pixels, Input(shape=(1, *size)))
    theirs = functional.interpolate(torch.from_numpy(pixels), size, mode="bilinear")
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-6)


def test_every_row_of_the_interpolation_is_an_average() -> None:
    np.testing.assert_allclose(interpolation_matrix(8, 32).sum(axis=1), 1, rtol=1e-6)


def test_pixels_are_repeated_over_channels_and_normalised_in_each() -> None:
    seen = Input(shape=(3, 8, 8), mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    prepared = prepare_pixels(np.full((2, 1, 8, 8), 0.5, dtype=np.float32), seen)
    assert prepared.shape == (2, 3, 8, 8)
    assert prepared[0, :, 0, 0].tolist() == [0.5, 0.0, -2.0]


def test_bytes_count_to_255_and_floats_to_1() -> None:
    values = np.array([0, 51, 255], dtype=np.uint8).reshape(1, 1, 1, 3)
    seen = Input(shape=(1, 1, 3))
    np.testing.assert_allclose(prepare_pixels(values, seen).ravel(), [0, 0.2, 1], rtol=1e-6)
    np.testing.assert_allclose(prepare_pixels(values / np.float32(255), seen).ravel(), [0, 0.2, 1], rtol=1e-6)


def test_how_many_images_are_prepared_together_does_not_matter() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 3, 5, 7), dtype=np.uint8)
    seen = Input(shape=(3, 9, 6), mean=(0.4,), std=(0.3,))
    alone = np.concatenate([prepare_pixels(pixels[index : index + 1], seen) for index in range(37)])
    np.testing.assert_allclose(prepare_pixels(pixels, seen), alone, atol=1e-6)


def test_the_images_of_a_caller_are_left_as_they_are() -> None:
    pixels = np.full((2, 1, 8, 8), 0.5, dtype=np.float32)
    prepare_pixels(pixels, Input(shape=(1, 8, 8), mean=(0.5,), std=(0.1,)))
    assert (pixels == 0.5).all()


def test_digits_are_1797_real_images_in_unit_range() -> None:
    split = load_split(make_recipe(input={"shape": [1, 8, 8]}, architecture="torchvision:resnet18"))
    assert (len(split.training), len(split.test)) == (1437, 360)
    pixels = np.concatenate([split.training.x, split.test.x])
    assert (pixels.min(), pixels.max(), pixels.dtype) == (0, 1, np.float32)
    assert len(np.unique(pixels.reshape(1797, -1), axis=0)) > 1700
    assert split.classes == tuple("0123456789")


def test_test_images_decide_where_no_training_images_are_kept_out() -> None:
    split = load_split(make_recipe())
    assert split.validation is split.test


def test_validation_images_are_kept_out_of_training_with_the_same_share_of_every_class() -> None:
    whole = load_split(make_recipe())
    split = load_split(make_recipe(data={"name": "digits", "validation_fraction": 0.25}))
    assert len(split.validation) == 360
    assert len(split.training) == 1077
    assert (split.test.pixels == whole.test.pixels).all()
    parts = np.concatenate([split.training.pixels, split.validation.pixels]).reshape(1437, -1)
    assert (np.sort(parts, axis=0) == np.sort(whole.training.pixels.reshape(1437, -1), axis=0)).all()
    shares = np.bincount(split.validation.y) / np.bincount(whole.training.y)
    assert shares.min() > 0.23
    assert shares.max() < 0.27


def test_images_are_taken_from_the_start_and_picked_by_number() -> None:
    pixels = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    images = Images(pixels, np.arange(4), Input(shape=(1, 1, 1)))
    assert images.take(2).y.tolist() == [0, 1]
    assert len(images.take(9)) == 4
    picked = images.pick(np.array([3, 0, 3]))
    assert (picked.pixels.ravel().tolist(), picked.y.tolist()) == ([3, 0, 3], [3, 0, 3])
