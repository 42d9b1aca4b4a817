"""Login shells of every kind, with banners, in homes with strange names: a run goes through all of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults import make_lab
from tests.openssh_board import OpensshBoard, openssh_board

pytestmark = [pytest.mark.slow, pytest.mark.sshd]

HOME = "my home/Käsebrot $HOME 'n' \"q\" !1 \\t"
WORK = "~/work folder 'of' $ ! ü \\n 100%"
"""Names with everything that some shell takes for its own."""

LOCALE = {"LANG": "C.UTF-8"}  # as PAM sets it; without one, fish itself writes other letters than ASCII anew

BANNERS = {"bash": ".bashrc", "zsh": ".zshenv", "fish": ".config/fish/config.fish", "tcsh": ".tcshrc"}
"""The file that a shell reads also for a command that has no terminal."""


def find_shell(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed: apt-get install {name}")
    return program


def plant_banner(board: OpensshBoard, file: str) -> None:
    path = board.home / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("echo 'Welcome, 100%'\necho -n 'a prompt without an end '\n")


@pytest.mark.parametrize("shell", BANNERS)
def test_a_run_goes_through_any_login_shell_its_banner_and_a_strange_home(shell: str, tmp_path: Path) -> None:
    with openssh_board(tmp_path, home=HOME, shell=(find_shell(shell), "-c"), environment=LOCALE) as board:
        plant_banner(board, BANNERS[shell])
        lab = make_lab(tmp_path / "lab", board.device(work_folder=WORK))
        assert b"Welcome" in board.say_hello()
        lab.assert_survived(lab.measure(), may_fail=False)
        assert (board.home / WORK.removeprefix("~/") / "runs").is_dir()


def test_an_account_without_a_shell_says_so(tmp_path: Path) -> None:
    program = tmp_path / "nologin"
    program.write_text("#!/bin/sh\necho 'This account is currently not available.'\nexit 1\n")
    program.chmod(0o755)
    with openssh_board(tmp_path, shell=(str(program),)) as board:
        (error,) = make_lab(tmp_path / "lab", board.device()).measure().errors
    assert "not available" in str(error)
    assert "shell" in str(error)
