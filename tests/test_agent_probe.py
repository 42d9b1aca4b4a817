"""What the agent says of a board, under every Python that this machine has."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from device_agent import entry, probe, protocol
from device_agent.probe import (
    find_libc,
    name_board,
    name_machine,
    parse_cpu_model,
    parse_os_release,
)
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
    assert facts["runtimes"] == {}


def test_a_runtime_that_kills_the_process_is_not_there(board: Board) -> None:
    package = board.work / "layers" / ("0" * 64) / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)\n")
    code, facts = board.call("probe", "--layer", "0" * 64)
    assert (code, facts["runtimes"]) == (0, {})


def test_a_runtime_that_hangs_is_not_there(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    package = board.work / "layers" / ("0" * 64) / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import time; time.sleep(60)\n")
    monkeypatch.setattr(sys, "argv", [str(board.agent)])
    monkeypatch.setattr(probe, "_PROBE_TIMEOUT_S", 0.5)
    assert probe.probe_board(WorkFolder(str(board.work)), "0" * 64)["runtimes"] == {}


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


def test_a_32_bit_system_on_a_64_bit_kernel_wants_32_bit_wheels() -> None:
    assert name_machine("aarch64", True) == "aarch64"
    assert name_machine("aarch64", False) == "armv7l"
    assert name_machine("armv7l", False) == "armv7l"


def plant(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0"}, "Raspberry Pi 4 Model B Rev 1.5"),
        (
            {
                "sys/class/dmi/id/sys_vendor": "LENOVO\n",
                "sys/class/dmi/id/product_name": "20UH\n",
            },
            "LENOVO 20UH",
        ),
    ],
)
def test_a_board_is_named_by_its_device_tree_or_firmware(
    tmp_path: Path, files: dict[str, str], expected: str
) -> None:
    assert name_board(plant(tmp_path, files), None) == expected


def test_a_machine_without_a_name_is_named_by_its_processor(tmp_path: Path) -> None:
    assert name_board(str(tmp_path), "AMD EPYC").endswith("(AMD EPYC)")


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 7B13\n", "AMD EPYC 7B13"),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n", "Cortex-A72"),
        (
            "model name\t: ARMv7 Processor rev 3 (v7l)\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n",
            "Cortex-A72",
        ),
        ("CPU implementer\t: 0x99\nCPU part\t: 0x1\n", None),
        ("", None),
    ],
)
def test_the_processor_is_named_by_text_or_part_number(cpuinfo: str, expected: str | None) -> None:
    assert parse_cpu_model(cpuinfo) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n', "Debian GNU/Linux 12 (bookworm)"),
        ("PRETTY_NAME=Buildroot\n", "Buildroot"),
        ("", None),
    ],
)
def test_the_system_is_named_by_os_release(text: str, expected: str | None) -> None:
    assert parse_os_release(text) == expected


def test_musl_is_known_by_what_its_loader_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def refuse(name: str) -> Any:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", refuse)
    loader = tmp_path / "lib" / "ld-musl-aarch64.so.1"
    plant(
        tmp_path,
        {"lib/ld-musl-aarch64.so.1": "#!/bin/sh\necho 'musl libc (aarch64)\nVersion 1.2.4' >&2\nexit 1\n"},
    )
    loader.chmod(0o755)
    assert find_libc(str(tmp_path)) == {"name": "musl", "version": "1.2.4"}
    loader.unlink()
    assert find_libc(str(tmp_path)) == {"name": None, "version": None}
