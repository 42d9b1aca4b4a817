"""Hosts that are killed at any step, and hosts whose disk is full: `--resume` does the rest."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.bench_command import bench, run_bench, share_cache, start_bench, wait_for_words
from tests.faults import PATIENCE_S, Lab, make_lab, wait_for_file
from tests.main_job import Swept
from tests.openssh_board import OpensshBoard
from tests.small_disks import mounting
from tests.tiny_workspace import make_tiny_workspace

pytestmark = [pytest.mark.slow, pytest.mark.sshd]


@pytest.fixture
def lab(board: OpensshBoard, tmp_path: Path) -> Lab:
    """A work folder that nobody has used."""
    return make_lab(tmp_path, board.device(work_folder=str(board.home / tmp_path.name)))


STOPS = (
    "before-look",
    "before-put",
    "after-put",
    "after-probe",
    "before-receive",
    "after-receive",
    "after-put-job",
    "before-start",
    "after-start",
    "before-follow",
    "after-follow",
)


def test_a_host_that_is_killed_at_every_step_finishes_when_it_resumes(board: OpensshBoard, lab: Lab) -> None:
    kill_at_every_stop(board, lab, STOPS)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_host_that_is_killed_while_packages_are_sent_or_unpacked_finishes_when_it_resumes(
    board: OpensshBoard, bare_lab: Lab, moment: str
) -> None:
    kill_at_every_stop(board, bare_lab, (f"{moment}-receive", f"{moment}-unpack"))
    assert bare_lab.list_board("layers")


def kill_at_every_stop(board: OpensshBoard, lab: Lab, stops: Sequence[str]) -> None:
    """Kill the host at one stop after the other, always in the same run; then let that finish."""
    words: tuple[str, ...] = ("run", str(lab.model), "--device", lab.device.name, "--measure", "quick")
    for stop in stops:
        with board.stumbling(stop) as reached:
            with start_bench(lab.root, *words) as process:
                wait_for_file(reached, process=process)
                os.killpg(process.pid, signal.SIGKILL)
            reached.unlink()
        assert process.returncode == -signal.SIGKILL
        words = ("sweep", "--resume", lab.newest_run())
    bench(lab.root, *words, timeout=PATIENCE_S)
    lab.assert_exact(lab.newest_run())


def test_a_host_that_is_killed_while_it_trains_finishes_when_it_resumes(swept: Swept, tmp_path: Path) -> None:
    root = make_tiny_workspace(tmp_path)
    share_cache(swept.root, root, "agents", "layers")
    try:
        with start_bench(root, "sweep", "--profile", "tiny") as process:
            run = wait_for_words(process, "training").partition("run ")[2].split()[0]
            os.killpg(process.pid, signal.SIGKILL)
        rows = json.loads(bench(root, "sweep", "--resume", run, "--format", "json", timeout=PATIENCE_S))
        assert [(row["run"], row["status"]) for row in rows] == [(run, "ok")] * 3
    finally:
        bench(root, "devices", "emulate", "x86-emulated", "down")


@pytest.mark.parametrize("kept", ["results", ".boardbench/cache"])
def test_a_host_whose_disk_is_full_says_where_and_finishes_with_room(lab: Lab, kept: str) -> None:
    within = mounting({lab.root / kept: "16k"})
    if within is None:
        pytest.skip("a small disk cannot be mounted here: neither root nor user namespaces")
    words = ("run", str(lab.model), "--device", lab.device.name, "--measure", "quick")
    ended = run_bench(lab.root, *words, within=within, timeout=PATIENCE_S)
    assert ended.code == 2, ended
    assert kept in ended.err
    assert "disk" in ended.err
    assert "Traceback" not in ended.err
    bench(lab.root, *words, timeout=PATIENCE_S)
    lab.assert_exact(lab.newest_run())


def test_a_build_that_fills_the_disk_says_where_and_leaves_nothing_half_made(
    swept: Swept, tmp_path: Path
) -> None:
    root = make_tiny_workspace(tmp_path)
    within = mounting({root / ".boardbench/cache": "256k"})
    if within is None:
        pytest.skip("a small disk cannot be mounted here: neither root nor user namespaces")
    ended = run_bench(root, "build", "--profile", "tiny", within=within)
    assert ended.code == 2, ended
    assert ".boardbench/cache" in ended.err
    assert "Traceback" not in ended.err
    share_cache(swept.root, root, "builds")
    bench(root, "build", "--profile", "tiny")
