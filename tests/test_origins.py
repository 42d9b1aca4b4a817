from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from host.compress import origins
from host.compress.origins import describe_origin, find_data, hash_data, list_files
from host.errors import BuildError
from host.specs.recipe import DataSet, Recipe


def make_recipe(architecture: str, **changes: Any) -> Recipe:
    data = {"data": {"name": "digits"}, "input": {"shape": [1, 8, 8]}}
    return Recipe.model_validate({"name": "mine", "architecture": architecture, **data, **changes})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_origin_is_json_with_the_versions_of_the_libraries(here: Path) -> None:
    origin = json.loads(json.dumps(describe_origin(make_recipe("torchvision:mobilenet_v2"))))
    assert origin["source"] is None
    assert {"torch", "onnx", "onnxruntime", "torch-pruning", "scikit-learn"} <= set(origin["libraries"])


def test_an_edit_of_any_module_of_the_package_changes_the_origin(here: Path) -> None:
    (here / "nets").mkdir()
    for name in ("__init__", "tiny", "blocks"):
        (here / "nets" / f"{name}.py").write_text("raise RuntimeError('planning runs no code')\n")
    recipe = make_recipe("nets.tiny:make")
    first = describe_origin(recipe)
    assert describe_origin(recipe) == first
    (here / "nets" / "blocks.py").write_text("# edited\n")
    assert describe_origin(recipe) != first


def test_a_single_module_is_found_from_a_folder_inside_the_workspace(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "devices.yaml").write_text("devices: {}\n")
    (here / "net.py").write_text("")
    (here / "inside").mkdir()
    monkeypatch.chdir(here / "inside")
    assert describe_origin(make_recipe("net:make"))["source"]


def test_a_module_that_is_nowhere_is_an_error_that_says_where_was_looked(here: Path) -> None:
    with pytest.raises(BuildError, match="no Python module 'nowhere_to_be_found'") as caught:
        describe_origin(make_recipe("nowhere_to_be_found.net:make"))
    assert str(here) in str(caught.value.hint)


def test_the_checkpoint_is_known_by_its_content(here: Path) -> None:
    recipe = make_recipe("torchvision:resnet18", checkpoint="weights.pt")
    with pytest.raises(BuildError, match=r"no checkpoint 'weights\.pt'"):
        describe_origin(recipe)
    (here / "weights.pt").write_bytes(b"one")
    first = describe_origin(recipe)["checkpoint"]
    (here / "weights.pt").write_bytes(b"two")
    assert describe_origin(recipe)["checkpoint"] != first


def identify(kind: str, path: str) -> Any:
    return describe_origin(make_recipe("torchvision:resnet18", data={"name": kind, "path": path}))["data"]


def write(path: Path, content: bytes = b"one") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_file_of_data_is_known_by_its_content_wherever_it_is(here: Path) -> None:
    first = identify("npz", str(write(here / "a.npz")))
    assert identify("npz", str(write(here / "elsewhere" / "b.npz"))) == first
    assert identify("npz", str(write(here / "a.npz", b"two"))) != first


def test_a_folder_of_data_is_known_by_the_names_and_contents_of_its_files(here: Path) -> None:
    for root in ("one", "two"):
        for name in ("train/cat/0.png", "train/dog/0.png", "test/cat/0.png"):
            write(here / root / name, name.encode())
    first = identify("imagefolder", "one")
    assert identify("imagefolder", "two") == first
    write(here / "two" / "train" / "cat" / ".DS_Store")
    write(here / "two" / "train" / "cat" / "Thumbs.db")
    assert identify("imagefolder", "two") == first
    write(here / "two" / "train" / "cat" / "0.png", b"edited")
    assert identify("imagefolder", "two") != first
    (here / "one" / "train" / "cat" / "0.png").rename(here / "one" / "train" / "dog" / "1.png")
    assert identify("imagefolder", "one") != first


def test_files_behind_links_count_and_links_that_lead_back_end(here: Path) -> None:
    write(here / "stored" / "cat" / "0.png")
    (here / "data").mkdir()
    (here / "data" / "cat").symlink_to(here / "stored" / "cat")
    (here / "data" / "loop").symlink_to(here / "data")
    assert list_files(here / "data") == [here / "data" / "cat" / "0.png"]
    first = hash_data(here / "data")
    write(here / "stored" / "cat" / "0.png", b"edited")
    assert hash_data(here / "data") != first


def test_names_that_are_no_utf8_are_hashed_too(here: Path) -> None:
    write(here / "data" / os.fsdecode(b"caf\xe9.png"))
    assert len(hash_data(here / "data")) == 64


def test_a_link_to_nowhere_is_an_error_that_names_it(here: Path) -> None:
    (here / "data").mkdir()
    (here / "data" / "gone.png").symlink_to(here / "nowhere")
    with pytest.raises(BuildError, match=r"gone\.png: cannot be read: No such file"):
        hash_data(here / "data")


def test_torchvisions_cifar10_has_one_identity_before_and_after_it_is_downloaded(here: Path) -> None:
    before = identify("cifar10", "data")
    write(here / "data" / "cifar-10-python.tar.gz", b"part of it")
    assert identify("cifar10", "data") == before
    write(here / "data" / "cifar-10-batches-py" / "test_batch")
    assert identify("cifar10", "data") == identify("cifar10", "data/cifar-10-batches-py") == before
    write(here / "data" / "mine.npz")
    assert identify("cifar10", "data") == before
    assert identify("cifar10", "data/mine.npz") == identify("npz", "data/mine.npz") != before


def test_cifar10_is_downloaded_to_where_data_is_kept(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataSet(name="cifar10", path="data/cifar10")
    assert find_data(data) == here / "data" / "cifar10"
    monkeypatch.setenv("BOARDBENCH_DATA", str(here / "big"))
    assert find_data(data) == here / "big" / "data" / "cifar10"
    write(here / "data" / "cifar10" / "cifar10.npz")
    assert find_data(data) == here / "data" / "cifar10"
    with pytest.raises(BuildError, match="there is no data set"):
        find_data(DataSet(name="cifar10", path="data/typo.npz"))


class Counted:
    """Counts how many files are hashed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files = 0
        self._hash = origins.hash_file
        monkeypatch.setattr(origins, "hash_file", self)

    def __call__(self, path: Path) -> str:
        self.files += 1
        return self._hash(path)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def make_old(*files: Path, age_s: float = 100) -> None:
    for file in files:
        os.utime(file, (time.time() - age_s,) * 2)


def test_the_hash_of_much_data_is_remembered_until_a_file_changes(
    here: Path, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origins, "REMEMBERED_BYTES", 1)
    monkeypatch.setattr(origins, "SETTLED_S", -60)
    files = [write(here / "data" / name) for name in ("a.png", "b.png")]
    first = hash_data(here / "data")
    assert not (here / ".boardbench").exists()  # planning makes no workspace of a folder
    (here / ".boardbench" / "cache").mkdir(parents=True)
    assert [hash_data(here / "data") for _ in range(3)] == [first] * 3
    assert counted.files == 4
    make_old(files[0])  # the same content
    assert hash_data(here / "data") == first
    assert counted.files == 6
    state = files[1].stat()
    files[1].write_bytes(b"ONE")  # the same size, and its time is put back
    os.utime(files[1], ns=(state.st_atime_ns, state.st_mtime_ns))
    assert hash_data(here / "data") != first


def test_the_hash_of_files_that_just_changed_or_are_few_is_not_remembered(
    here: Path, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / ".boardbench" / "cache").mkdir(parents=True)
    write(here / "data" / "a.png")
    hash_data(here / "data")
    monkeypatch.setattr(origins, "REMEMBERED_BYTES", 1)
    hash_data(here / "data")
    hash_data(here / "data")
    assert counted.files == 3
