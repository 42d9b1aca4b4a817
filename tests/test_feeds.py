from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from host.compress.build_store import store_blob
from host.compress.feeds import MOST_BYTES, write_feeds
from host.compress.onnx_files import read_onnx
from host.compress.packing import pack_arrays
from host.errors import ModelError
from host.specs.artifact import Artifact, Tensor
from tests.made_onnx import BOOL, FLOAT, INT64, UINT8, make_convolution, make_identity


def with_images(folder: Path, count: int) -> Artifact:
    """A model with an open batch and `count` images, the pixels of each being its number."""
    artifact = read_onnx(make_convolution(folder / "net.onnx"), {})
    x = np.arange(count, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 8, 8), dtype=np.float32)
    images = store_blob(folder, pack_arrays({"x": x, "y": np.zeros(count, dtype=np.int64)}), ".npz")
    inputs = (Tensor(name="image", dtype="float", shape=(None, 3, 8, 8)),)
    return artifact.model_copy(update={"inputs": inputs, "evaluation": images})


def test_real_images_are_fed_where_there_are_some(tmp_path: Path) -> None:
    feeds = np.load(write_feeds(with_images(tmp_path, 100), 4, {}, tmp_path / "feeds").path)
    assert feeds.files == ["image"]
    assert feeds["image"].shape == (8, 4, 3, 8, 8)
    assert feeds["image"][:, :, 0, 0, 0].flatten().tolist() == list(range(32))


def test_few_images_are_fed_again(tmp_path: Path) -> None:
    feeds = np.load(write_feeds(with_images(tmp_path, 3), 2, {}, tmp_path).path)
    assert feeds["image"][:, :, 0, 0, 0].flatten().tolist() == [at % 3 for at in range(16)]


def test_feeds_are_named_by_their_content_and_the_same_every_time(tmp_path: Path) -> None:
    artifact = read_onnx(make_convolution(tmp_path / "net.onnx"), {})
    first, again = (write_feeds(artifact, 1, {}, tmp_path / name) for name in ("a", "b"))
    assert first.sha256 == again.sha256
    assert first.path.stem == first.sha256
    assert write_feeds(artifact, 1, {}, tmp_path / "a") == first


def test_made_up_values_suit_their_types(tmp_path: Path) -> None:
    inputs = {
        "pixels": (UINT8, (1, 64, 64)),
        "file": (INT64, (1, 128)),  # a name that is a keyword of numpy.savez
        "mask": (BOOL, (1, 128)),
        "a/b:0": (FLOAT, (1, 1000)),
    }
    feeds = np.load(
        write_feeds(read_onnx(make_identity(tmp_path / "n.onnx", inputs), {}), 1, {}, tmp_path).path
    )
    assert {name: (feeds[name].dtype.name, feeds[name].shape) for name in feeds.files} == {
        "pixels": ("uint8", (8, 1, 64, 64)),
        "file": ("int64", (8, 1, 128)),
        "mask": ("bool", (8, 1, 128)),
        "a/b:0": ("float32", (8, 1, 1000)),
    }
    assert np.unique(feeds["pixels"]).size == 256
    assert np.unique(feeds["file"]).tolist() == [0, 1]
    assert abs(feeds["a/b:0"].mean()) < 0.1
    assert (np.abs(feeds["a/b:0"]) > np.finfo(np.float32).tiny).all()


def test_a_batch_fills_an_open_first_extent_and_a_shape_every_other(tmp_path: Path) -> None:
    artifact = read_onnx(make_identity(tmp_path / "n.onnx", {"x": (FLOAT, (1, 4))}), {})
    opened = artifact.model_copy(update={"inputs": (Tensor(name="x", dtype="float", shape=(None, None)),)})
    with pytest.raises(ModelError, match=r"--shape x=3,\?"):
        write_feeds(opened, 3, {}, tmp_path)
    assert np.load(write_feeds(opened, 3, {"x": (5, 7)}, tmp_path).path)["x"].shape == (8, 5, 7)


def test_words_cannot_be_made_up(tmp_path: Path) -> None:
    artifact = read_onnx(make_identity(tmp_path / "n.onnx", {"words": (FLOAT, (1,))}), {})
    words = artifact.inputs[0].model_copy(update={"dtype": "string"})
    with pytest.raises(ModelError, match="'words' takes string"):
        write_feeds(artifact.model_copy(update={"inputs": (words,)}), 1, {}, tmp_path)


def test_large_inputs_get_fewer_feeds(tmp_path: Path) -> None:
    shape = (1, MOST_BYTES // 4 // 3)
    artifact = read_onnx(make_identity(tmp_path / "n.onnx", {"x": (FLOAT, shape)}), {})
    assert np.load(write_feeds(artifact, 1, {}, tmp_path).path)["x"].shape == (3, *shape)


def test_a_scalar_input_is_fed_a_value_without_extents(tmp_path: Path) -> None:
    path = make_identity(tmp_path / "net.onnx", {"x": (FLOAT, (1, 4)), "scale": (FLOAT, ())})
    feeds = np.load(write_feeds(read_onnx(path, {}), 1, {}, tmp_path).path)
    assert feeds["scale"].shape == (8,)
