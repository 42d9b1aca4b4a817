"""`bench doctor --device` as a user runs it, on emulated boards that look like a Jetson."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from host.cli.main import run_bench
from host.fleet import emulator
from host.fleet.registry import find_device, remove_device, save_device
from host.workspace import Workspace
from tests.fake_jetson import disguise_python
from tests.tunable_board import FIXED, TunableBoard, make_tunable

pytestmark = pytest.mark.slow

BOARD = "orin"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with one emulated board, labelled `jetson`."""
    root = tmp_path_factory.mktemp("doctor")
    workspace = Workspace(root)
    device = emulator.up(workspace, BOARD, 1)
    save_device(workspace, device.model_copy(update={"labels": ("jetson", *device.labels)}))
    yield root
    emulator.down(workspace, BOARD)


@pytest.fixture
def board(root: Path) -> Iterator[TunableBoard]:
    """The board's own files and commands, as they are when nobody has changed anything."""
    folder = Workspace(root).emulators / BOARD
    board = make_tunable(folder / "root")
    home = folder / "home" / "bin"
    python = (home / "python3").read_bytes() if not (home / "python3").is_symlink() else None
    if python is None:
        disguise_python(home / "python3", {"BOARDBENCH_ROOT": str(board.root)})
    for command in board.commands.iterdir():
        shutil.copy(command, home / command.name)
    yield board
    shutil.rmtree(board.root)
    shutil.rmtree(folder / "home" / ".boardbench", ignore_errors=True)


Diagnosed = tuple[int, dict[tuple[str, str], dict[str, Any]], str]
Diagnose = Callable[..., Diagnosed]


@pytest.fixture
def diagnose(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Diagnose:
    """`bench doctor` in this process: exit code, findings by board and check, and the words for people."""
    monkeypatch.chdir(root)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> Diagnosed:
        capsys.readouterr()
        code = run_bench(["doctor", *words, "--format", "json"])
        said = capsys.readouterr()
        findings = json.loads(said.out) if said.out else []
        return code, {(one["device"], one["check"]): one for one in findings}, said.err

    return run


def test_what_is_wrong_is_told_with_the_command_that_mends_it(
    diagnose: Diagnose, board: TunableBoard
) -> None:
    before = board.state()
    code, found, said = diagnose("--device", "label:jetson")
    assert code == 1
    assert found[BOARD, "governor"] == {
        "device": BOARD,
        "check": "governor",
        "is_fine": False,
        "found": "schedutil",
        "advice": "Clocks follow the load, so that a short inference is measured at a low clock.",
        "command": "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        "can_fix": True,
    }
    assert found[BOARD, "power mode"]["command"] == "sudo nvpmodel -m 0"
    assert found[BOARD, "clock"]["is_fine"] is True
    assert f"bench doctor --device {BOARD} --fix" in said
    assert board.state() == before


def test_fix_and_restore(diagnose: Diagnose, board: TunableBoard, capsys: pytest.CaptureFixture[str]) -> None:
    before = board.state()
    code, found, _ = diagnose("--device", BOARD, "--fix")
    assert code == 1
    assert [name for (_, name), one in found.items() if one["is_fine"] is False] == ["power source"]
    assert "power mode MAXN (was mode 1)" in found[BOARD, "fix"]["found"]
    assert board.state() == FIXED
    assert run_bench(["doctor", "--device", BOARD]) == 1
    shown = capsys.readouterr()
    assert "What is changed stays until the next run there has ended" in shown.err
    assert "governor performance (was schedutil)" in " ".join(shown.out.split())
    code, restored, _ = diagnose("--device", BOARD, "--restore")
    assert (code, {name for _, name in restored}) == (
        0,
        {"restore power mode", "restore governor", "restore jetson_clocks"},
    )
    assert board.state() == before
    _, restored, _ = diagnose("--device", BOARD, "--restore")
    assert restored[BOARD, "restore"]["found"] == "nothing was changed there"


@pytest.fixture
def board_of_a_user(root: Path, board: TunableBoard) -> Iterator[TunableBoard]:
    """The board, where the agent is not root, whoever runs these tests."""
    python = Workspace(root).emulators / BOARD / "home/bin/python3"
    as_root = python.read_text()
    python.write_text(as_root.replace(" exec ", f" exec {shlex.join(step_down())} ", 1))
    yield board
    python.write_text(as_root)


def step_down() -> tuple[str, ...]:
    """The words before a command that make root another user, to whom belongs what belongs to root."""
    if os.geteuid() != 0:
        return ()
    words = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], check=False).returncode != 0:
        pytest.skip("root stays root here: there are no user namespaces")
    return words


def test_a_sudo_that_asks_for_a_password_is_told(diagnose: Diagnose, board_of_a_user: TunableBoard) -> None:
    board = board_of_a_user
    board.write("sudo-asks")
    before = board.state()
    code, found, _ = diagnose("--device", BOARD, "--fix")
    assert code == 1
    assert "sudo must not ask for a password" in found[BOARD, "governor"]["advice"]
    assert board.asked_of_sudo()
    assert board.state() == before
    assert (BOARD, "fix") not in found


def test_a_board_that_is_away_is_told_and_the_other_is_looked_at(
    diagnose: Diagnose, root: Path, board: TunableBoard
) -> None:
    workspace = Workspace(root)
    away = find_device(workspace, BOARD).model_copy(update={"name": "away", "port": 1, "emulation": None})
    save_device(workspace, away)
    code, found, said = diagnose("--device", "away", "--device", BOARD)
    remove_device(workspace, "away")
    assert code == 3
    assert found["away", "reach"]["is_fine"] is False
    assert found[BOARD, "governor"]["is_fine"] is False
    assert "refuses connections" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--fix",), "no board is named to change"),
        (("--device", BOARD, "--fix", "--restore"), "changes it back"),
        (("--device", "label:jetsom"), "Did you mean jetson?"),
        (("--device", "jetson"), "label:jetson names all devices"),
        (("--device", "label:../x"), "letters, digits"),
    ],
)
def test_what_cannot_be_meant_is_a_wrong_usage(diagnose: Diagnose, words: tuple[str, ...], said: str) -> None:
    code, found, told = diagnose(*words)
    assert (code, found) == (2, {})
    assert said in told
