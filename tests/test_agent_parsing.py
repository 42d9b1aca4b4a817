"""The command `parse`, as a process of the real archive."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from device_agent.protocol import EXIT_OLD_PYTHON
from host.fleet.agent_archive import build_agent
from tests.board_texts import ENTRIES, TEXT_KINDS, kind_of, parse
from tests.old_python import find_old_python


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_agent(tmp_path_factory.mktemp("agent")).path


def call(agent: Path, *words: str, stdin: bytes = b"", python: str = sys.executable) -> tuple[int, str, str]:
    """The exit code, standard output and standard error of the agent."""
    done = subprocess.run([python, "-S", str(agent), *words], input=stdin, capture_output=True, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_the_command_reads_standard_input_without_a_work_folder(agent: Path, kind: str) -> None:
    entry = next(entry for entry in ENTRIES if kind_of(entry) == kind)
    code, stdout, stderr = call(agent, "parse", kind, stdin=entry["output"].encode())
    assert (code, stderr) == (0, "")
    assert json.loads(stdout) == parse(kind, entry["output"])


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_the_command_answers_where_bytes_are_no_text(agent: Path, kind: str) -> None:
    code, stdout, stderr = call(agent, "parse", kind, stdin=b"\xff\xfe\x00temp=4\xe92.5'C\n")
    assert (code, stderr) == (0, "")
    assert all(value in (None, [], {}) for value in json.loads(stdout).values())


def test_the_command_gives_one_answer_for_each_line_of_tegrastats(agent: Path) -> None:
    lines = b"RAM 598/1892MB (lfb 209x4MB)\n\n\xff\xff\nRAM 599/1892MB (lfb 209x4MB)"
    code, stdout, stderr = call(agent, "parse", "tegrastats", stdin=lines)
    assert (code, stderr) == (0, "")
    used = [json.loads(line)["ram_used_mb"] for line in stdout.splitlines()]
    assert used == [598, None, None, 599]


def test_a_line_without_end_is_one_line(agent: Path) -> None:
    code, stdout, _ = call(agent, "parse", "tegrastats", stdin=b"x" * 200_000 + b"\n\n")
    assert (code, len(stdout.splitlines())) == (0, 2)


def test_an_input_that_no_tool_prints_is_a_fault(agent: Path) -> None:
    code, stdout, _ = call(agent, "parse", "nvpmodel", stdin=b"0" * (5 << 20))
    assert code != 0
    assert "larger" in json.loads(stdout)["error"]["message"]


def test_an_answer_comes_with_its_line_and_a_closed_pipe_ends_the_command_quietly(agent: Path) -> None:
    command = [sys.executable, "-S", str(agent), "parse", "tegrastats"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"RAM 598/1892MB (lfb 209x4MB)\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["ram_used_mb"] == 598
        process.stdout.close()
        process.stdin.write(b"RAM 598/1892MB (lfb 209x4MB)\n")
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


def test_an_unknown_kind_is_wrong_usage(agent: Path) -> None:
    code, stdout, stderr = call(agent, "parse", "thermometer")
    assert (code, stdout) == (2, "")
    assert "argument KIND: invalid choice: 'thermometer'" in stderr


@pytest.mark.parametrize(
    ("words", "missing"), [(["status"], "--work"), ([], "--work, COMMAND"), (["stop", "r"], "--work")]
)
def test_every_other_command_still_asks_for_the_work_folder(
    agent: Path, words: list[str], missing: str
) -> None:
    code, stdout, stderr = call(agent, *words)
    assert (code, stdout) == (2, "")
    assert stderr.endswith(f"agent.pyz: error: the following arguments are required: {missing}\n")


def test_the_command_may_have_a_work_folder(agent: Path, tmp_path: Path) -> None:
    words = ["--work", str(tmp_path / "work"), "parse", "vcgencmd"]
    code, stdout, _ = call(agent, *words, stdin=b"volt=0.7200V\n")
    assert (code, json.loads(stdout)) == (0, {"volts": 0.72})
    assert not (tmp_path / "work").exists()


def test_python_3_6_reads_every_recording(agent: Path) -> None:
    found = sorted(Path("~/.pyenv/versions").expanduser().glob("3.6.*/bin/python"))
    if not found:
        pytest.skip("no Python 3.6 on this machine")
    for kind in TEXT_KINDS:
        text = "".join(entry["output"] for entry in ENTRIES if kind_of(entry) == kind)
        code, stdout, stderr = call(agent, "parse", kind, stdin=text.encode(), python=str(found[-1]))
        assert (code, stderr) == (0, "")
        assert json.loads(stdout) == parse(kind, text)


def test_an_old_python_gets_a_sentence_instead_of_an_answer(agent: Path) -> None:
    code, stdout, stderr = call(agent, "parse", "vcgencmd", python=find_old_python())
    assert (code, stdout) == (EXIT_OLD_PYTHON, "")
    assert len(stderr.splitlines()) == 1
