"""What the agent says of a board, under every Python that this machine has."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from device_agent import entry, probe, protocol
from device_agent.runtimes.opset_probe import encode_identity, find_max_opset
from device_agent.work_folder import WorkFolder
from host.fleet.agent_archive import build_agent
from tests.agent_board import Board, load_opset

VERSIONS = ("2.7", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13")


def find_python(version: str) -> str | None:
    """An interpreter of that version that really starts: on the path, or one of pyenv's."""
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for candidate in (*map(str, pyenv), shutil.which(f"python{version}")):
        if candidate is None:
            continue
        asked = subprocess.run([candidate, "-c", "import sys; print(sys.version)"], capture_output=True)
        if asked.returncode == 0 and asked.stdout.decode().startswith(version + "."):
            return candidate
    return None


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "work", build_agent(tmp_path).path)


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_the_agent_runs_on_every_python_from_its_floor(board: Board, version: str) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"python{version} is not installed")
    board.python = python
    code, facts = board.call("probe")
    assert code == 0
    assert facts["python"].startswith(version + ".")
    assert facts["schema"] == protocol.SCHEMA
    assert board.call("status") == (0, {"holder": None})
    told = subprocess.run([python, str(board.agent), "--version"], capture_output=True, check=True)
    assert protocol.AGENT_VERSION in told.stdout.decode()


def test_python_2_gets_a_sentence_and_an_exit_code(board: Board) -> None:
    python = find_python("2.7")
    if python is None:
        pytest.skip("python2.7 is not installed")
    told = subprocess.run([python, str(board.agent), "--version"], capture_output=True)
    assert told.returncode == protocol.EXIT_OLD_PYTHON
    assert told.stderr.decode().startswith(
        "boardbench needs Python 3.6 or newer on the board; this is Python 2.7"
    )


def test_an_old_python_3_gets_the_same_sentence(
    board: Board, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 5, 9, "final", 0))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(entry.__file__, run_name="__main__")
    assert ended.value.code == protocol.EXIT_OLD_PYTHON
    assert "this is Python 3.5.9" in capsys.readouterr().err


def test_the_entry_says_the_same_as_the_protocol() -> None:
    assert entry.OLDEST == protocol.OLDEST_PYTHON
    assert entry.EXIT_OLD_PYTHON == protocol.EXIT_OLD_PYTHON


def test_a_probe_tells_what_the_host_needs(board: Board) -> None:
    code, facts = board.call("probe")
    assert code == 0
    assert facts["implementation"] == "cp"
    assert facts["cores"] >= 1
    assert facts["memory_mb"] > 0
    assert facts["free_bytes"] > 0
    assert facts["board"]
    runtime = facts["runtimes"]["onnxruntime"]
    assert "CPUExecutionProvider" in runtime["providers"]
    assert 17 <= runtime["max_opset"] <= 30
    assert not board.work.exists()  # asking leaves nothing behind


def test_a_layer_is_put_on_the_path_first(board: Board) -> None:
    package = board.work / "layers" / ("0" * 64) / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('the one of the layer')\n")
    _, facts = board.call("probe", "--layer", "0" * 64)
    assert "onnxruntime" not in facts["runtimes"]


def test_a_runtime_that_kills_the_process_is_not_there_and_the_others_are(board: Board) -> None:
    package = board.work / "layers" / ("0" * 64) / "openvino"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)\n")
    code, facts = board.call("probe", "--layer", "0" * 64)
    assert code == 0
    assert "openvino" not in facts["runtimes"]
    assert "onnxruntime" in facts["runtimes"]


def test_a_runtime_that_hangs_is_not_there(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    package = board.work / "layers" / ("0" * 64) / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import time; time.sleep(60)\n")
    monkeypatch.setattr(sys, "argv", [str(board.agent)])
    monkeypatch.setattr(probe, "_RUNTIME_TIMEOUT_S", 5)
    found = probe.probe_board(WorkFolder(str(board.work)), "0" * 64)["runtimes"]
    assert "onnxruntime" not in found


@pytest.mark.parametrize("opset", [7, 17, 30, 200])
def test_the_hand_written_model_is_what_onnx_reads(opset: int) -> None:
    model = onnx.load_from_string(encode_identity(opset))
    assert load_opset(encode_identity(opset)) == opset
    assert model.graph.node[0].op_type == "Identity"
    if opset == 17:
        onnx.checker.check_model(model)


def test_the_newest_accepted_opset_is_found_from_above() -> None:
    assert find_max_opset(lambda model: load_opset(model) <= 21) == 21
    assert find_max_opset(lambda model: False) is None
