"""The agent's files as a folder: whole or made anew, and the archive where there is no room for one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from device_agent.unpacked import provide_program
from device_agent.work_folder import WorkFolder
from host.fleet.agent_archive import build_agent, read_sources


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkFolder:
    """A work folder of the agent whose archive this process pretends to be."""
    archive = build_agent(tmp_path / "cache").path
    monkeypatch.setattr(sys, "argv", [str(archive)])
    return WorkFolder(str(tmp_path / "work"))


def test_the_folder_holds_the_sources_of_the_archive(folder: WorkFolder) -> None:
    program = Path(provide_program(folder))
    sources = read_sources()
    assert (program / "__main__.py").read_bytes() == sources["device_agent/entry.py"]
    assert all((program / name).read_bytes() == content for name, content in sources.items())


def test_a_whole_folder_is_left_as_it_is(folder: WorkFolder) -> None:
    main = Path(provide_program(folder)) / "device_agent" / "main.py"
    before = main.stat()
    provide_program(folder)
    assert (main.stat().st_ino, main.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("damage", ["", "import os\n", None])
def test_a_damaged_folder_is_made_anew(folder: WorkFolder, damage: str | None) -> None:
    main = Path(provide_program(folder)) / "device_agent" / "main.py"
    main.unlink()
    if damage is not None:
        main.write_text(damage)
    provide_program(folder)
    assert main.read_bytes() == read_sources()["device_agent/main.py"]
    assert [path.name for path in main.parents[2].iterdir()] == [main.parents[1].name]


def test_without_room_the_archive_itself_is_started(
    folder: WorkFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(folder.root).parent.joinpath("work").write_text("no folder")
    assert provide_program(folder) == sys.argv[0]
    assert "started from its archive" in capsys.readouterr().err


def test_an_agent_that_is_a_folder_already_is_started_as_it_is(
    folder: WorkFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = provide_program(folder)
    monkeypatch.setattr(sys, "argv", [program])
    assert provide_program(folder) == program
