"""Boards that lie, over OpenSSH: they are refused in a few words, write nothing, and hold up nobody."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from host.fleet.emulator_processes import find_processes
from tests.faults import MEASURE, PATIENCE_S, Lab, assert_told, make_lab
from tests.hostile_board import CLAIMS, FORGERIES, write_interpreter
from tests.openssh_board import OpensshBoard, openssh_board

pytestmark = [pytest.mark.slow, pytest.mark.sshd]

FLOODED = ("probe", "inventory", "receive", "start", "follow")
LIES = (
    *(f"flood:{word}:garbage" for word in FLOODED),
    "flood:follow:one-line",
    "flood:follow:list",
    "flood:inventory:nested",
    "flood:put-job:nothing",
    *(f"forge:{name}" for name in FORGERIES),
    *(f"claim:{name}" for name in CLAIMS),
)
MOST_MEMORY_KIB = 150 * 1024


@dataclass
class LeftBehind:
    """A run that a board has measured to its end, of which the host has stored nothing yet."""

    lab: Lab
    board: OpensshBoard
    run: str

    def register(self, python: str) -> None:
        self.lab.register(self.board.device(python=python))


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LeftBehind]:
    """The host refuses the first line, and the board goes on; after all lies the truth is still there."""
    folder = tmp_path_factory.mktemp("board")
    with openssh_board(folder) as board:
        honest = board.device().python
        liar = write_interpreter(folder / "liar", "forge:other-run")
        lab = make_lab(folder / "lab", board.device(python=liar))
        trial = lab.measure(MEASURE)
        assert "belongs to run" in str(trial.errors[0])
        left = LeftBehind(lab, board, lab.newest_run())
        wait_for_end(board)
        yield left
        left.register(honest)
        lab.assert_survived(lab.resume(left.run), run=left.run, may_fail=False)
        assert len(lab.read_starts()) == 1


def wait_for_end(board: OpensshBoard) -> None:
    until = time.monotonic() + PATIENCE_S
    while not any(b'"run-ended"' in one.read_bytes() for one in board.work.glob("runs/*/journal.jsonl")):
        assert time.monotonic() < until
        time.sleep(0.05)


def list_files(*folders: Path) -> set[Path]:
    return {path for folder in folders for path in folder.rglob("*")}


def find_floods(board: OpensshBoard) -> list[psutil.Process]:
    return [one for one in find_processes(board.mark) if "flood" in " ".join(one.cmdline())]


@pytest.mark.parametrize("lie", LIES)
def test_a_board_that_lies_is_refused_and_writes_nothing(
    left_behind: LeftBehind, lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "a/b/c/d"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    lab, board = left_behind.lab, left_behind.board
    if "receive" in lie:
        shutil.rmtree(board.work / "blobs")
    left_behind.register(write_interpreter(board.folder / "liar", lie))
    before = list_files(tmp_path, lab.root / ".boardbench", board.folder / "disks")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    trial = lab.resume(left_behind.run)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < MOST_MEMORY_KIB
    assert list_files(tmp_path, lab.root / ".boardbench", board.folder / "disks") == before
    assert len(trial.errors) == 1
    assert_told(trial.errors)
    assert lab.device.name in str(trial.errors[0])
    assert len(lab.stored(left_behind.run)[1]) <= 1  # nothing but what was told before a lie
    psutil.wait_procs(find_floods(board), timeout=30)  # nobody listens any more
    assert find_floods(board) == []
