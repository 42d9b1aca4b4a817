"""Whoever connects refuses a server whose host key is not the pinned one, before it says who we are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from host.cli.main import bench as commands
from host.cli.main import run_bench
from host.errors import DeviceError
from host.fleet.registry import load_devices
from tests.faults import Lab, make_lab
from tests.openssh_board import OpensshBoard
from tests.tiny_workspace import make_tiny_workspace

pytestmark = pytest.mark.sshd

OTHER = "SHA256:" + "A" * 43

CONNECTS: dict[str, tuple[str, ...]] = {
    "clean": ("clean", "--device", "board"),
    "deploy": ("deploy", "--device", "board"),
    "devices add": (
        "devices", "add", "again", "127.0.0.1", "--port", "{port}", "--key", "{key}", "--fingerprint", OTHER,
    ),
    "devices list": ("devices", "list", "--watch", "--times", "1"),
    "devices probe": ("devices", "probe", "board"),
    "doctor": ("doctor", "--device", "board"),
    "profile": ("profile", "{model}", "--device", "board"),
    "run": ("run", "{model}", "--device", "board"),
    "sweep": ("sweep", "--profile", "tiny", "--device", "board"),
}  # fmt: skip
"""Every command that connects to a registered board, with words that make it do so."""

STAYS_HERE = {
    "analyze", "baseline list", "baseline remove", "baseline save", "build", "check", "compare",
    "devices emulate", "devices remove", "devices show", "export", "import", "init", "models list",
    "models show", "profiles list", "profiles schema", "profiles show", "profiles validate", "recommend",
    "report", "results",
    "track",
}  # fmt: skip
"""Commands that connect to no board, or to none but an emulated one that they start themselves."""


def list_commands(group: click.Command, name: str = "") -> Iterator[str]:
    if not isinstance(group, click.Group):
        yield name
        return
    for word, command in group.commands.items():
        yield from list_commands(command, f"{name} {word}".strip())


def test_every_command_is_known_to_connect_or_not() -> None:
    known = STAYS_HERE | CONNECTS.keys()
    unknown = set(list_commands(commands)) - known
    assert unknown == set(), (
        "add them to CONNECTS or STAYS_HERE: those that connect must refuse a changed key"
    )


@pytest.fixture
def lab(board: OpensshBoard, tmp_path: Path) -> Lab:
    lab = make_lab(make_tiny_workspace(tmp_path), board.device())
    lab.register(board.device(fingerprint=OTHER))
    return lab


@pytest.mark.parametrize("name", CONNECTS)
def test_a_server_with_another_host_key_is_not_spoken_to(
    board: OpensshBoard,
    lab: Lab,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(lab.root)
    words = [
        word.format(port=board.port, key=board.folder / "user_key", model=lab.model)
        for word in CONNECTS[name]
    ]
    code = run_bench(words)
    told = capsys.readouterr()
    said = " ".join((told.out + told.err).split())
    assert code == (0 if name == "devices list" else DeviceError.exit_code), said
    real = board.device().fingerprint
    assert OTHER[:20] in said
    assert real[:20] in said
    assert name == "devices list" or "ssh-keygen -lf" in said
    assert "Accepted" not in (board.folder / "sshd.log").read_text()  # nobody logged in
    assert not board.work.exists()
    assert list(load_devices(lab.workspace)) == ["board"]


def test_an_unknown_host_key_is_not_taken_where_nobody_can_look_at_it(
    board: OpensshBoard, lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(lab.root)
    words = ["devices", "add", "new", "127.0.0.1", "--port", str(board.port)]
    assert run_bench([*words, "--key", str(board.folder / "user_key")]) == 2
    said = capsys.readouterr().err
    assert board.device().fingerprint in said
    assert "--fingerprint" in said
    assert "Accepted" not in (board.folder / "sshd.log").read_text()
    assert list(load_devices(lab.workspace)) == ["board"]
