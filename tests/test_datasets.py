from __future__ import annotations

import io
import os
import pickle
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import md5
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from host.compress import image_folders
from host.compress.data import Split, load_split
from host.compress.datasets import CIFAR10
from host.compress.labelled_images import Data
from host.compress.npz_archives import read_archive
from host.compress.origins import OFFICIAL_CIFAR10
from host.compress.vision_ops import load_torchvision
from host.errors import BuildError
from host.specs.recipe import Input
from tests.tiny_plans import make_recipe

RGB = {"shape": [3, 6, 6]}
GREY = {"shape": [1, 6, 6]}
Save = Callable[..., Path]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BOARDBENCH_DATA", raising=False)
    return tmp_path


def make_arrays(count: int = 20, classes: int = 10, shape: tuple[int, ...] = (6, 6, 3)) -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {
        f"{name}_{part}": value
        for part in ("train", "test")
        for name, value in (
            ("x", random.integers(0, 256, (count, *shape), dtype=np.uint8)),
            ("y", np.arange(count) % classes),
        )
    }


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves arrays as an .npz; None leaves one out."""

    def save_arrays(name: str = "mine.npz", **changes: Any) -> Path:
        arrays = {key: value for key, value in {**make_arrays(), **changes}.items() if value is not None}
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **arrays)
        return path

    return save_arrays


def load(kind: str, path: Path | str, seen: dict[str, Any] = RGB, **data: Any) -> Split:
    return load_split(make_recipe(data={"name": kind, "path": str(path), **data}, input=seen))


def pairs(pixels: Any, labels: Any) -> list[tuple[bytes, int]]:
    return sorted((np.asarray(one).tobytes(), int(label)) for one, label in zip(pixels, labels, strict=True))


def test_an_archive_gives_every_image_with_its_label_channels_first(save: Save) -> None:
    arrays = make_arrays()
    split = load("npz", save())
    assert split.training.pixels.shape == (20, 3, 6, 6)
    assert split.training.pixels.dtype == np.uint8
    assert split.classes == tuple("0123456789")
    for part, name in ((split.training, "train"), (split.test, "test")):
        wanted = pairs(arrays[f"x_{name}"].transpose(0, 3, 1, 2), arrays[f"y_{name}"])
        assert pairs(part.pixels, part.y) == wanted


def test_images_sorted_by_class_are_shuffled_by_the_seed(save: Save) -> None:
    sorted_labels = np.repeat(np.arange(10), 2)
    path = save(y_train=sorted_labels, y_test=sorted_labels)
    first, again, other = (load("npz", path, seed=seed).training.y.tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert sorted_labels.tolist() not in (first, other)


def test_grey_images_may_have_no_axis_of_channels_and_labels_one_too_many(save: Save) -> None:
    arrays = make_arrays(shape=(6, 6))
    arrays["y_train"] = arrays["y_train"].reshape(-1, 1).astype(np.uint8)
    split = load("npz", save(**arrays), GREY)
    assert split.training.pixels.shape == (20, 1, 6, 6)
    assert split.training.y.shape == (20,)


def test_floats_of_any_size_are_kept_in_single_precision(save: Save) -> None:
    floats = make_arrays()["x_train"] / 255
    split = load("npz", save(x_train=floats))
    assert split.training.pixels.dtype == np.float32
    np.testing.assert_allclose(np.sort(split.training.pixels.ravel()), np.sort(floats.ravel()), rtol=1e-6)


def test_an_archive_may_name_its_classes(save: Save) -> None:
    names = np.array([f"kind {index}" for index in range(10)])
    assert load("npz", save(classes=names)).classes == tuple(names.tolist())


X, Y = make_arrays()["x_train"], make_arrays()["y_train"]
WRONG_ARRAYS = {
    "no x_train and no y_test in it": {"x_train": None, "y_test": None},
    r"x_train: has the shape \(6, 6\)": {"x_train": X[0, ..., 0]},
    r"x_test: has the shape \(0, 6, 6, 3\)": {"x_test": X[:0]},
    r"x_train: has its channels first, \(20, 3, 6, 6\)": {"x_train": X.transpose(0, 3, 1, 2)},
    "x_train: has the element type int64": {"x_train": X.astype(np.int64)},
    "x_train: has the element type bool": {"x_train": X > 9},
    "x_train: has floats from 0 to 255": {"x_train": np.where(X < 99, 0.0, 255.0)},
    "x_test: has floats from -1 to 1": {"x_test": np.where(X < 99, -1.0, 1.0)},
    "x_train: has floats from nan to nan": {"x_train": np.where(X < 99, np.nan, 0.5)},
    "x_train has 19 images, and y_train 20 labels": {"x_train": X[:-1]},
    "differ in shape": {"x_test": X[:, :5]},
    "y_train: has the element type float64": {"y_train": Y / 1},
    "y_train: has the element type bool": {"y_train": Y > 3},
    r"y_train: has the shape \(20, 10\)": {"y_train": np.eye(10, dtype=int)[Y]},
    "y_train: there is a label -1, and the classes are 0 to 9": {"y_train": np.where(Y == 0, -1, Y)},
    "y_train: no image has the class 4": {"y_train": np.where(Y == 4, 5, Y)},
    "y_train: no image has the class 0": {"y_train": Y + 1, "y_test": Y + 1},
    "y_test: there is a label 10, and the classes are 0 to 9": {"y_test": Y + 1},
    "y_test: no image has the class 9": {"y_test": np.minimum(Y, 8)},
    "y_train: there is a label 10": {"y_train": np.where(Y == 3, 10**15, Y), "y_test": Y},
    "y_train: there is a label 9, and the classes are 0 to 1": {"classes": np.array(["cat", "dog"])},
    "classes has the element type int64": {"classes": np.arange(10)},
    "two of its classes have the same name": {"classes": np.array(["a"] * 10)},
    "all images are of one class": {"y_train": Y * 0, "y_test": Y * 0},
    "Object arrays cannot be loaded": {"x_train": np.array([{}, []] * 10, dtype=object)},
}


@pytest.mark.parametrize(("said", "changes"), WRONG_ARRAYS.items(), ids=WRONG_ARRAYS)
def test_arrays_that_are_wrong_are_an_error_that_names_the_file(
    save: Save, said: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(BuildError, match=said) as caught:
        load("npz", save(**changes))
    assert "mine.npz" in caught.value.message


def test_a_pickle_in_an_archive_is_never_opened(save: Save, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    with pytest.raises(BuildError, match="Object arrays cannot be loaded"):
        load("npz", save(y_train=np.array([Trap()] * 20, dtype=object)))
    (tmp_path / "raw.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BuildError, match=r"raw\.npz: cannot be read"):
        load("npz", "raw.npz")
    assert not (tmp_path / "sprung").exists()


def test_a_single_array_or_a_folder_is_no_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", X)
    with pytest.raises(BuildError, match=r"mine\.npy: cannot be read as an \.npz"):
        load("npz", "mine.npy")
    with pytest.raises(BuildError, match=r"is a folder, not an \.npz"):
        load("npz", tmp_path)


def test_a_path_that_is_nowhere_is_an_error_that_names_the_variable() -> None:
    with pytest.raises(BuildError, match=r"no data set 'nowhere\.npz'") as caught:
        load("npz", "nowhere.npz")
    assert "BOARDBENCH_DATA" in str(caught.value.hint)


def test_data_is_found_in_the_folder_that_the_environment_names(
    save: Save, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save("elsewhere/mine.npz")
    monkeypatch.setenv("BOARDBENCH_DATA", str(tmp_path / "elsewhere"))
    assert len(load("npz", "mine.npz").test) == 20


def test_images_of_other_channels_than_the_input_are_an_error_with_the_right_shape(save: Save) -> None:
    with pytest.raises(BuildError, match=r"mine\.npz: the images have 3 channels, .* has 1") as caught:
        load("npz", save(), GREY)
    assert "[3, 6, 6]" in str(caught.value.hint)


WHOLE = io.BytesIO()
np.savez(WHOLE, **make_arrays(count=4, classes=2, shape=(2, 2, 1)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(WHOLE.getvalue()) - 1), st.integers(1, 255), st.booleans())
def test_a_damaged_archive_is_read_right_or_not_at_all(
    tmp_path: Path, place: int, change: int, is_cut: bool
) -> None:
    content = bytearray(WHOLE.getvalue())
    content[place] ^= change
    path = tmp_path / "mine.npz"
    path.write_bytes(bytes(content[:place]) if is_cut else bytes(content))
    try:
        found = read_archive(path)
    except BuildError as error:
        assert "mine.npz" in error.message
    else:
        assert (found.training.labels == [0, 1, 0, 1]).all()


def test_cifar10_is_read_from_an_archive_or_the_only_one_of_its_folder(save: Save, tmp_path: Path) -> None:
    path = save("data/cifar10.npz")
    split = load("cifar10", path)
    assert split.classes == CIFAR10
    assert (load("cifar10", "data").training.pixels == split.training.pixels).all()
    save("data/other.npz")
    with pytest.raises(BuildError, match=r"several \.npz files"):
        load("cifar10", "data")


class Official:
    """A tiny stand-in for torchvision's CIFAR-10, with MD5 sums of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kind = load_torchvision().datasets.CIFAR10
        self.arrays = make_arrays(count=20, shape=(32, 32, 3))
        x = {
            part: self.arrays[f"x_{part}"].transpose(0, 3, 1, 2).reshape(20, -1) for part in ("train", "test")
        }
        y = {part: self.arrays[f"y_{part}"].tolist() for part in ("train", "test")}
        entries: dict[str, Any] = {"batches.meta": {"label_names": list(CIFAR10)}}
        entries["test_batch"] = {"data": x["test"], "labels": y["test"]}
        for index in range(5):
            some = slice(4 * index, 4 * index + 4)
            entries[f"data_batch_{index + 1}"] = {"data": x["train"][some], "labels": y["train"][some]}
        self.files = {name: pickle.dumps(entry) for name, entry in entries.items()}
        sums = {name: md5(data).hexdigest() for name, data in self.files.items()}
        self.archive = self._pack(folder / "server")
        training = [[f"data_batch_{index}", sums[f"data_batch_{index}"]] for index in range(1, 6)]
        for key, value in {
            "train_list": training,
            "test_list": [["test_batch", sums["test_batch"]]],
            "meta": {**self.kind.meta, "md5": sums["batches.meta"]},
            "tgz_md5": md5(self.archive.read_bytes()).hexdigest(),
        }.items():
            monkeypatch.setattr(self.kind, key, value)

    def _pack(self, folder: Path) -> Path:
        folder.mkdir()
        archive = folder / "cifar-10-python.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            for name, data in self.files.items():
                info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return archive

    def write(self, folder: Path) -> Path:
        place = folder / "cifar-10-batches-py"
        place.mkdir(parents=True)
        for name, data in self.files.items():
            (place / name).write_bytes(data)
        return place


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Official:
    return Official(tmp_path, monkeypatch)


@pytest.fixture
def served(official: Official, monkeypatch: pytest.MonkeyPatch) -> Iterator[Official]:
    """The stand-in, whose archive a server on this machine gives out."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=official.archive.parent)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/{official.archive.name}"
        monkeypatch.setattr(official.kind, "url", url)
        yield official
        server.shutdown()
        thread.join()


def test_the_identity_of_cifar10_is_the_sum_that_torchvision_checks() -> None:
    official = load_torchvision().datasets.CIFAR10.tgz_md5
    assert f"md5:{official}" == OFFICIAL_CIFAR10


@pytest.mark.parametrize("named", ["data", "data/cifar-10-batches-py"])
def test_torchvisions_folder_gives_the_same_images_as_an_archive(
    official: Official, save: Save, tmp_path: Path, named: str
) -> None:
    official.write(tmp_path / "data")
    split, same = load("cifar10", named), load("cifar10", save(**official.arrays))
    assert split.classes == CIFAR10
    assert split.training.pixels.dtype == np.uint8
    assert (split.training.pixels == same.training.pixels).all()
    assert (split.test.y == same.test.y).all()


def test_cifar10_is_downloaded_into_the_folder_where_it_is_not_there(
    served: Official, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOARDBENCH_DATA", str(tmp_path / "big"))
    assert len(load("cifar10", "cifar10").training) == 20
    assert (tmp_path / "big" / "cifar10" / "cifar-10-batches-py" / "test_batch").is_file()
    assert capsys.readouterr().out == ""
    served.archive.unlink()  # the second time nothing is downloaded
    assert len(load("cifar10", "cifar10").training) == 20


def test_without_internet_the_error_says_which_file_to_put_where(
    official: Official, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(official.kind, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    with pytest.raises(BuildError, match="cannot be downloaded") as caught:
        load("cifar10", "data")
    assert f"put cifar-10-python.tar.gz into {tmp_path / 'data'}" in str(caught.value.hint)
    (tmp_path / "data" / "cifar-10-python.tar.gz").write_bytes(official.archive.read_bytes())
    assert len(load("cifar10", "data").test) == 20


def test_a_file_that_is_not_the_official_one_is_named_and_never_unpickled(
    official: Official, tmp_path: Path
) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    place = official.write(tmp_path / "data")
    for name in ("batches.meta", "data_batch_3"):
        (place / name).write_bytes(pickle.dumps(Trap()))
    (place / "test_batch").unlink()
    with pytest.raises(BuildError, match=r"data_batch_3, test_batch, batches\.meta missing or not"):
        load("cifar10", "data")
    assert not (tmp_path / "sprung").exists()


def draw(path: Path, colour: Any = (200, 100, 50), mode: str = "RGB", size: tuple[int, int] = (6, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes with two images each in train, and one each in test."""
    root = tmp_path / "pets"
    for part, count in (("train", 2), ("test", 1)):
        for index, kind in enumerate(("cat", "dog")):
            for number in range(count):
                draw(root / part / kind / f"{number}.png", (100 * index, 10 * number, 7))
    return root


def test_a_folder_gives_every_image_with_its_class_sorted_by_name(folder: Path) -> None:
    split = load("imagefolder", folder)
    assert split.classes == ("cat", "dog")
    assert (len(split.training), len(split.test)) == (4, 2)
    assert split.training.pixels.dtype == np.uint8
    for part in (split.training, split.test):
        assert (part.pixels[:, 0, 3, 3] == 100 * part.y).all()
    assert sorted(split.training.pixels[:, 1, 0, 0].tolist()) == [0, 0, 10, 10]


def test_val_stands_in_for_test_and_hidden_files_do_not_count(folder: Path) -> None:
    (folder / "test").rename(folder / "val")
    for name in (".DS_Store", "Thumbs.db", "cat/.hidden.png", "cat/Thumbs.db", "dog/desktop.ini"):
        (folder / "train" / name).write_bytes(b"no image")
    (folder / "train" / ".cache").mkdir()
    split = load("imagefolder", folder)
    assert (len(split.training), len(split.test), split.classes) == (4, 2, ("cat", "dog"))


def test_images_of_a_folder_are_shuffled_by_the_seed(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for index in range(40):
            draw(tmp_path / "many" / part / f"{index // 20}" / f"{index:02}.png", (index, 0, 0))
    first, again, other = (load("imagefolder", "many", seed=seed) for seed in (0, 0, 1))
    assert (first.training.pixels == again.training.pixels).all()
    assert (first.training.pixels != other.training.pixels).any()
    assert 4 <= first.training.take(20).y.sum() <= 16
    assert sorted(first.training.pixels[:, 0, 0, 0].tolist()) == list(range(40))


def test_what_the_model_sees_is_upright_whatever_the_camera_noted(folder: Path) -> None:
    image = Image.new("RGB", (6, 6))
    image.paste((255, 0, 0), (0, 0, 6, 3))  # red above
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    image.save(folder / "test" / "cat" / "0.png", exif=exif)
    split = load("imagefolder", folder)
    turned = split.test.pixels[split.test.y == 0][0]
    assert (turned[0, 0, 0], turned[0, 5, 0]) == (0, 255)


def test_a_wide_image_is_cut_at_its_centre_and_keeps_its_proportions(folder: Path) -> None:
    image = Image.new("RGB", (36, 12), (0, 0, 0))
    image.paste((255, 255, 255), (12, 0, 24, 12))
    image.save(folder / "test" / "cat" / "0.png")
    shown = load("imagefolder", folder).test
    cat = shown.pixels[shown.y == 0][0]
    assert (cat[:, :, 1:-1] == 255).all()
    assert (cat > 200).all()  # the edges see a little of what was cut off


def test_shrinking_averages_over_all_pixels(folder: Path) -> None:
    stripes = np.zeros((60, 60, 3), dtype=np.uint8)
    stripes[::2] = 200
    Image.fromarray(stripes).save(folder / "test" / "cat" / "0.png")
    split = load("imagefolder", folder)
    assert np.abs(split.test.pixels[split.test.y == 0].astype(int) - 100).max() <= 8


MODES: dict[str, tuple[Any, tuple[int, int, int]]] = {
    "RGBA": ((200, 100, 50, 9), (200, 100, 50)),
    "L": (77, (77, 77, 77)),
    "LA": ((77, 200), (77, 77, 77)),
    "1": (1, (255, 255, 255)),
    "I;16": (77 * 256 + 5, (77, 77, 77)),
}


@pytest.mark.parametrize(("mode", "colour", "wanted"), [(mode, *pair) for mode, pair in MODES.items()])
def test_every_mode_of_an_image_becomes_rgb(
    folder: Path, mode: str, colour: Any, wanted: tuple[int, int, int]
) -> None:
    draw(folder / "test" / "cat" / "0.png", colour, mode)
    split = load("imagefolder", folder)
    assert split.test.pixels[split.test.y == 0][0, :, 2, 2].tolist() == list(wanted)


def test_palettes_and_cmyk_become_rgb_and_grey(folder: Path) -> None:
    palette = Image.new("RGB", (6, 6), (200, 100, 50)).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(folder / "test" / "cat" / "0.png", transparency=b"\x80")
    Image.new("CMYK", (6, 6), (0, 0, 0, 0)).save(folder / "test" / "dog" / "0.png", format="TIFF")
    split = load("imagefolder", folder)
    assert split.test.pixels[split.test.y == 0][0, :, 2, 2].tolist() == [200, 100, 50]
    assert (split.test.pixels[split.test.y == 1] == 255).all()
    grey = load("imagefolder", folder, GREY)
    assert grey.test.pixels.shape == (2, 1, 6, 6)
    assert grey.test.pixels[grey.test.y == 0][0, 0, 2, 2] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


def test_a_large_jpeg_is_close_to_what_it_shows(folder: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 1200, dtype=np.uint8)[None, :, None], (1200, 1, 3))
    Image.fromarray(ramp).save(folder / "test" / "cat" / "0.png", format="JPEG")
    split = load("imagefolder", folder)
    row = split.test.pixels[split.test.y == 0][0, 0, 3].astype(float)
    wanted = 255 * (np.arange(6) + 0.5) / 6
    np.testing.assert_allclose(row[1:-1], wanted[1:-1], atol=2)
    np.testing.assert_allclose(row, wanted, atol=6)  # beyond an edge there is nothing to average with


def test_images_that_cannot_be_read_are_named_all_at_once(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "train" / "cat" / "0.png")
    whole = (folder / "train" / "cat" / "0.png").read_bytes()
    (folder / "train" / "cat" / "0.png").write_bytes(whole[:-40])
    (folder / "train" / "dog" / "notes.txt").write_text("no image")
    (folder / "train" / "dog" / "empty.jpg").touch()
    with pytest.raises(BuildError, match="3 of 6 images cannot be read") as caught:
        load("imagefolder", folder)
    for name in ("cat/0.png", "dog/notes.txt: is no image", "dog/empty.jpg: is no image"):
        assert name in caught.value.message


@pytest.mark.parametrize("limit", [30, 10])
def test_an_image_of_far_too_many_pixels_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(BuildError, match=rf"has more than {limit} pixels"):
        load("imagefolder", folder)


def test_more_images_than_the_memory_holds_are_an_error_beforehand(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Memory:
        available = 100

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    with pytest.raises(BuildError, match=r"6 images of \(3, 6, 6\) take"):
        load("imagefolder", folder)


def test_folders_that_are_wrong_are_errors_that_name_them(folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "owl").mkdir()
    with pytest.raises(BuildError, match=r"no images in .*train/owl"):
        load("imagefolder", folder)
    draw(folder / "train" / "owl" / "0.png")
    with pytest.raises(BuildError, match=r"different classes: only in .*train: owl"):
        load("imagefolder", folder)
    with pytest.raises(BuildError, match="no folder 'train'"):
        load("imagefolder", folder / "train")
    (tmp_path / "half" / "train" / "cat").mkdir(parents=True)
    with pytest.raises(BuildError, match="no folder 'test'"):
        load("imagefolder", "half")
    (tmp_path / "half" / "test").mkdir()
    with pytest.raises(BuildError, match=r"no images in .*train/cat"):
        load("imagefolder", "half")
    with pytest.raises(BuildError, match="1 or 3 channels, the recipe's input has 4"):
        load("imagefolder", folder, {"shape": [4, 6, 6]})
    with pytest.raises(BuildError, match="no folder 'train'"):
        load("imagefolder", draw(tmp_path / "single.png"))


def encode(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"]), st.data())
def test_a_damaged_image_is_read_or_named(folder: Path, kind: str, data: st.DataObject) -> None:
    content = bytearray(encode(kind))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    end = data.draw(st.sampled_from([len(content), place]))
    (folder / "test" / "cat" / "0.png").write_bytes(bytes(content[:end]))
    try:
        split = load("imagefolder", folder)
    except BuildError as error:
        assert "cat/0.png" in error.message
    else:
        assert len(split.test) == 2


def test_shuffling_keeps_each_image_with_its_label(save: Save) -> None:
    found = read_archive(save())
    assert isinstance(found, Data)
    shuffled = found.shuffle(5)
    assert pairs(shuffled.test.pixels, shuffled.test.labels) == pairs(found.test.pixels, found.test.labels)
    assert not (shuffled.test.labels == found.test.labels).all()


def test_an_input_of_another_proportion_is_filled(folder: Path) -> None:
    assert load("imagefolder", folder, {"shape": [3, 4, 10]}).training.pixels.shape == (4, 3, 4, 10)
    assert image_folders.read_image(folder / "test" / "cat" / "0.png", Input(shape=(1, 2, 3))).shape == (2, 3)
