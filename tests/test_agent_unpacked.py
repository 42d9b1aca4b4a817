"""The agent's files as a folder: whole or made anew, and the archive where there is no room for one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from device_agent.unpacked import provide_program
from device_agent.work_folder import WorkFolder
from host.fleet.agent_archive import build_agent, read_sources


@pytest.fixture
def archive(tmp_path: Path) -> str:
    return str(build_agent(tmp_path / "cache").path)


@pytest.fixture
def folder(tmp_path: Path) -> WorkFolder:
    return WorkFolder(str(tmp_path / "work"))


def test_the_folder_holds_the_sources_of_the_archive(folder: WorkFolder, archive: str) -> None:
    program = Path(provide_program(folder, archive))
    sources = read_sources()
    assert (program / "__main__.py").read_bytes() == sources["device_agent/entry.py"]
    assert all((program / name).read_bytes() == content for name, content in sources.items())


def test_a_whole_folder_is_left_as_it_is(folder: WorkFolder, archive: str) -> None:
    main = Path(provide_program(folder, archive)) / "device_agent" / "main.py"
    before = main.stat()
    provide_program(folder, archive)
    assert (main.stat().st_ino, main.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("damage", ["", "import os\n", None])
def test_a_damaged_folder_is_made_anew(folder: WorkFolder, archive: str, damage: str | None) -> None:
    main = Path(provide_program(folder, archive)) / "device_agent" / "main.py"
    main.unlink()
    if damage is not None:
        main.write_text(damage)
    provide_program(folder, archive)
    assert main.read_bytes() == read_sources()["device_agent/main.py"]
    assert [path.name for path in main.parents[2].iterdir()] == [main.parents[1].name]


STARTED = """\
import os, sys
from device_agent.unpacked import provide_program
from device_agent.work_folder import WorkFolder
program = provide_program(WorkFolder(sys.argv[1]), sys.argv[2])
print(program, os.stat(program).st_ino)
"""


def test_of_several_starts_at_once_none_takes_the_folder_from_under_another(
    folder: WorkFolder, archive: str
) -> None:
    command = [sys.executable, "-c", STARTED, folder.root, archive]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    starts = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(3)]
    told = {start.communicate(timeout=120)[0] for start in starts}
    assert len(told) == 1
    assert b".files " in told.pop()


def test_without_room_the_archive_itself_is_started(
    folder: WorkFolder, archive: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(folder.root).parent.joinpath("work").write_text("no folder")
    assert provide_program(folder, archive) == archive
    assert "started from its archive" in capsys.readouterr().err


def test_an_agent_that_is_a_folder_already_is_started_as_it_is(folder: WorkFolder, archive: str) -> None:
    program = provide_program(folder, archive)
    assert provide_program(folder, program) == program


def test_bytecode_lies_beside_the_sources(folder: WorkFolder, archive: str) -> None:
    program = Path(provide_program(folder, archive))
    compiled = {path.name.split(".")[0] for path in program.glob("device_agent/__pycache__/*.pyc")}
    assert {"main", "worker", "measurement"} <= compiled
