"""Where the command's words go: readers that leave, streams that are closed, places that are full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from host.ledger.baselines import save_baseline
from tests.made_ledger import make_workspace, open_ledger, save_run
from tests.made_results import make_sweep
from tests.tiny_workspace import make_tiny_workspace

BENCH = f"{sys.executable} -m host.cli"
CLONE = Path(__file__).parent.parent

COMMANDS = ["profiles list", "profiles list --format json", "profiles show tiny", "devices list"]


def run_shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {**os.environ, "PYTHONPATH": str(CLONE), **environment}
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=known, capture_output=True, text=True, check=False
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return make_tiny_workspace(tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_leaves_is_no_failure(workspace: Path, command: str) -> None:
    done = run_shell(f"{BENCH} {command} | true; exit ${{PIPESTATUS[0]}}", workspace)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_closed_streams_are_no_failure(workspace: Path, command: str) -> None:
    assert run_shell(f"{BENCH} {command} <&- >&- 2>&-", workspace).returncode == 0


def test_an_error_keeps_its_exit_code_where_nobody_can_read_it(workspace: Path) -> None:
    assert run_shell(f"{BENCH} profiles show nothing 2>&-", workspace).returncode == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_told_without_a_traceback(workspace: Path, command: str) -> None:
    done = run_shell(f"{BENCH} {command} > /dev/full", workspace)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_that_knows_only_ascii_gets_every_row(workspace: Path) -> None:
    done = run_shell(f"{BENCH} models list", workspace, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "1?16?16" in done.stdout


@pytest.mark.parametrize("columns", ["1", "20", "abc"])
def test_a_narrow_terminal_gets_a_table(workspace: Path, columns: str) -> None:
    done = run_shell(f"{BENCH} models list", workspace, COLUMNS=columns)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_place_that_cannot_be_written_is_told_without_a_traceback(workspace: Path) -> None:
    done = run_shell(f"{BENCH} init devices.yaml/inside", workspace)
    assert done.returncode == 2
    assert "Not a directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_gone_is_told(workspace: Path) -> None:
    done = run_shell(f"mkdir gone && cd gone && rmdir ../gone && {BENCH} profiles list", workspace)
    assert done.returncode == 2
    assert "the current folder is gone" in done.stderr


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A workspace whose newest run is slower than the baseline."""
    make_workspace(tmp_path)
    with open_ledger(tmp_path) as ledger:
        save_run(ledger, "r1", make_sweep())
        save_baseline(ledger, "main", "r1")
        save_run(ledger, "r2", make_sweep(slowdown=1.5), minute=5)
    return tmp_path


GATES = [
    "check --baseline main --no-remeasure --junit j.xml --markdown s.md",
    "check --baseline main --no-remeasure --junit j.xml --markdown s.md --format json",
    "recommend --max-latency 1us",
    "recommend --max-latency 1us --format json",
]


@pytest.mark.parametrize("form", ["", "2>&1"])
@pytest.mark.parametrize("command", GATES)
def test_a_reader_that_leaves_does_not_open_a_gate(measured: Path, command: str, form: str) -> None:
    """The reader is gone before anything is printed."""
    script = f"{{ sleep 0.2; exec {BENCH} {command}; }} {form} | true; exit ${{PIPESTATUS[0]}}"
    done = run_shell(script, measured, BENCH_LEDGER="")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    if not form:
        assert "limit" in done.stderr
    if "junit" in command:
        assert (measured / "j.xml").read_text().endswith("</testsuites>\n")
        assert (measured / "s.md").read_text().startswith("### ")


def test_a_gate_that_keeps_stays_open_for_a_reader_that_leaves(measured: Path) -> None:
    for command in ("recommend", "check --baseline main --run r2 --max-slowdown 90%"):
        script = f"{{ sleep 0.2; exec {BENCH} {command}; }} | true; exit ${{PIPESTATUS[0]}}"
        assert run_shell(script, measured, BENCH_LEDGER="").returncode == 0
