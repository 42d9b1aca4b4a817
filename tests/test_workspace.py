"""Where things are: the workspace first, then what is shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.errors import UsageError
from host.workspace import Workspace, find_root, shipped_folder


def test_the_workspace_is_found_from_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "devices.yaml").write_text("devices: {}\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_root(below) == tmp_path


def test_without_a_workspace_the_folder_itself_is_one(tmp_path: Path) -> None:
    assert find_root(tmp_path) == tmp_path


def test_the_workspace_hides_what_is_shipped(tmp_path: Path) -> None:
    own = tmp_path / "models" / "mobilenet_v2-digits.yaml"
    own.parent.mkdir()
    own.write_text("")
    workspace = Workspace(tmp_path)
    assert workspace.find_file("models", "mobilenet_v2-digits") == own
    assert workspace.find_file("profiles", "x86-emulated").parent == shipped_folder("profiles")


def test_an_unknown_name_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        Workspace(tmp_path).find_file("profiles", "x86-emulatd")
    assert caught.value.hint is not None
    assert "Did you mean x86-emulated" in caught.value.hint  # the nearest comes first


def test_a_file_outside_the_workspace_can_be_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("")
    assert Workspace(tmp_path / "elsewhere").find_file("profiles", str(file)) == file


def test_looking_creates_nothing(tmp_path: Path) -> None:
    Workspace(tmp_path).find_files("models")
    assert list(tmp_path.iterdir()) == []
