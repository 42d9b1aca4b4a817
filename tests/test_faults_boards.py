"""Boards that lose power, fill up, forget, lie about the time or damage their files, behind a real sshd."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from host.specs.device import Device
from tests.faults import LONG, Lab, Trial, make_lab, wait_for_file
from tests.openssh_board import OpensshBoard, openssh_board
from tests.small_disks import mounting

pytestmark = [pytest.mark.slow, pytest.mark.sshd]


@pytest.fixture
def lab(board: OpensshBoard, tmp_path: Path) -> Lab:
    """A work folder that nobody has used."""
    return make_lab(tmp_path, board.device(work_folder=str(board.home / tmp_path.name)))


def work_of(lab: Lab) -> Path:
    return Path(lab.device.work_folder)


def journal_of(lab: Lab) -> Path:
    (journal,) = work_of(lab).glob("runs/*/journal.jsonl")
    return journal


# Power and processes.


def leave_it(journal: Path) -> None:
    """The disk kept all that was written."""


def tear(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:-40])


def add_zeros(journal: Path) -> None:
    """The file grew, and its data never reached the disk."""
    journal.write_bytes(journal.read_bytes() + bytes(4096))


def add_garbage(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes() + os.urandom(2000) + b"\n" + os.urandom(100) + b"\n")


def flip_in_last_round(journal: Path) -> None:
    """One bit of the samples that the board measured last."""
    content = bytearray(journal.read_bytes())
    content[content.rindex(b'"samples_ns": "') + 40] ^= 1
    journal.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [leave_it, tear, flip_in_last_round], ids=lambda damage: damage.__name__)
def test_a_board_that_loses_power_goes_on_with_what_its_disk_kept(
    board: OpensshBoard, lab: Lab, damage: Callable[[Path], None]
) -> None:
    with lab.measuring(LONG) as trial:
        lab.wait_for_rounds(6)
        board.cut_power()
        before = journal_of(lab).read_bytes()
        damage(journal_of(lab))
        board.start()
    lab.assert_survived(trial)
    assert len(lab.read_starts()) == 2
    kept = (
        before
        if damage is leave_it
        else before[: before.rindex(b'{"seq"', 0, before.rindex(b'"round", "wall'))]
    )
    assert journal_of(lab).read_bytes().startswith(kept)


@pytest.mark.parametrize("damage", [add_zeros, add_garbage], ids=lambda damage: damage.__name__)
def test_a_journal_that_is_damaged_after_its_end_is_mended_by_measuring_again(
    lab: Lab, damage: Callable[[Path], None]
) -> None:
    lab.stop_after_rounds(4)
    run = lab.newest_run()
    damage(journal_of(lab))
    lab.assert_survived(lab.resume(run), run=run, may_fail=False)


def test_an_agent_that_is_killed_is_started_again(board: OpensshBoard, lab: Lab) -> None:
    with lab.measuring(LONG) as trial:
        lab.wait_for_rounds(4)
        os.kill(lab.read_lock()["pid"], signal.SIGKILL)
    lab.assert_survived(trial, may_fail=False)
    assert len(lab.read_starts()) == 2
    assert any("starting it again" in said for said in trial.progress.said)


def test_the_lock_of_a_dead_run_holds_up_nobody(lab: Lab) -> None:
    work = work_of(lab)
    work.mkdir()
    (work / "lock").write_text('{"run": "old", "pid": 1, "holder": "ann@laptop", "since": "2020-01-01"}')
    lab.assert_survived(lab.measure(), may_fail=False)


# Two hosts.


def test_of_two_hosts_at_once_the_second_is_told_and_loses_nothing(lab: Lab, tmp_path: Path) -> None:
    other = make_lab(tmp_path / "other", lab.device)
    with lab.measuring(LONG) as first, other.measuring(LONG) as second:
        pass
    refused = [one for one in (first, second) if one.errors]
    for trial in refused:
        assert "another run measures" in str(trial.errors[0])
        assert "since 20" in str(trial.errors[0])
    assert len(refused) <= 1
    lab.assert_survived(first)
    other.assert_survived(second)


# Disks.


@pytest.fixture(scope="module")
def small_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpensshBoard]:
    """A board with a small disk and one that is read-only."""
    folder = tmp_path_factory.mktemp("small")
    within = mounting({folder / "disks/small": "80m", folder / "disks/fixed": "4m,ro"})
    if within is None:
        pytest.skip("a small disk cannot be mounted here: neither root nor user namespaces")
    with openssh_board(folder, within=within) as board:
        yield board


FILL = 'cat /dev/zero > "$0/filler"'
FILL_BUT_A_MEGABYTE = f'{FILL}; truncate -s -1M "$0/filler"'
"""So that it becomes full in the middle of what is written."""


def test_a_disk_that_is_full_at_any_write_is_told_and_costs_nothing(
    small_board: OpensshBoard, tmp_path: Path
) -> None:
    folder = str(small_board.folder / "disks/small")
    lab = make_lab(tmp_path, small_board.device(work_folder=folder))
    fill_at_every_step(small_board, lab, FILL, ("put", "receive", "put-job", "start", "follow"))


@pytest.mark.parametrize("fill", [FILL, FILL_BUT_A_MEGABYTE], ids=["full", "almost full"])
def test_a_disk_that_is_full_where_packages_are_unpacked_is_told_and_costs_nothing(
    small_board: OpensshBoard, tmp_path: Path, planted_runtime: None, fill: str
) -> None:
    folder = str(small_board.folder / "disks/small" / tmp_path.name)
    lab = make_lab(tmp_path, small_board.device(work_folder=folder, python=small_board.bare_python))
    fill_at_every_step(small_board, lab, fill, ("unpack",))
    assert lab.list_board("layers")


def fill_at_every_step(board: OpensshBoard, lab: Lab, fill: str, steps: Sequence[str]) -> None:
    """Fill the disk before one step after the other, always in the same run; then let that finish."""
    folder, run = lab.device.work_folder, ""
    for step in steps:
        with board.stumbling(f"before-{step}") as reached, lab.going_on(run, LONG) as trial:
            wait_for_file(reached)
            lab.call_board("sh", "-c", fill, folder)
            reached.unlink()
        run = lab.newest_run()
        assert trial.errors, f"{step}: {trial.progress.said}"
        assert_full(trial, lab.device)
        lab.call_board("rm", f"{folder}/filler")
    lab.assert_survived(lab.resume(run), run=run, may_fail=False)


def assert_full(trial: Trial, device: Device) -> None:
    said = str(trial.errors[0])
    assert "full" in said
    assert device.work_folder in said
    assert "`work_folder:` on another disk" in said


def test_a_work_folder_that_is_read_only_is_told(small_board: OpensshBoard, tmp_path: Path) -> None:
    fixed = small_board.device(work_folder=str(small_board.folder / "disks/fixed"))
    lab = make_lab(tmp_path, fixed)
    trial = lab.measure()
    assert "cannot be written" in str(trial.errors[0])
    lab.register(small_board.device(work_folder=str(small_board.folder / "disks/small/other")))
    lab.assert_survived(trial)


def flip_bit(file: Path, at: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(at * len(content))] ^= 1
    file.write_bytes(bytes(content))


def test_files_that_rot_on_the_board_are_not_measured_and_are_sent_anew(lab: Lab) -> None:
    lab.assert_survived(lab.measure(), may_fail=False)
    for blob in (work_of(lab) / "blobs").iterdir():
        flip_bit(blob, at=0.5)
    trial = lab.measure()
    assert trial.outcome is not None
    assert (trial.outcome.measured, trial.outcome.failed) == (0, 2)
    _, found, _ = lab.stored(trial.outcome.run)
    kinds = sorted(one.error.kind for one in found if one.error)
    assert kinds == ["corrupt", "missing"]  # the second shares the files of the first, which are gone by then
    lab.assert_survived(trial)


def test_a_board_that_loses_power_while_it_unpacks_begins_that_anew(
    board: OpensshBoard, bare_lab: Lab
) -> None:
    with board.stumbling("before-unpack") as reached, bare_lab.measuring() as trial:
        wait_for_file(reached)
        board.cut_power()
        (archive,) = work_of(bare_lab).glob("blobs/*")
        half_made = work_of(bare_lab) / "layers" / f"{archive.name}.part" / "onnxruntime"
        half_made.mkdir(parents=True)
        (half_made / "__init__.py").write_bytes(b"")
        reached.unlink()
        board.start()
    bare_lab.assert_survived(trial, may_fail=False)
    assert bare_lab.list_board("layers") == [archive.name]


def test_packages_that_rot_on_the_board_before_they_are_unpacked_are_sent_anew(
    board: OpensshBoard, bare_lab: Lab
) -> None:
    with board.stumbling("before-unpack") as reached, bare_lab.measuring() as trial:
        wait_for_file(reached)
        (archive,) = work_of(bare_lab).glob("blobs/*")
        flip_bit(archive, at=0.5)
        reached.unlink()
    assert "damaged on the board's disk" in str(trial.errors[0])
    bare_lab.assert_survived(trial)
    assert bare_lab.list_board("layers") == [archive.name]


# Clocks.

CLOCKS = {
    "stopped in 1980": "clock = lambda: 315532800.0 + real() % 1000",
    "jumping": "clock = lambda: real() + random.choice([-1, 0, 1]) * 3e8",
}
PLANTED = "import random, time\nreal = time.time\n{}\ntime.time = clock\n"


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_clock_that_is_wrong_changes_no_measurement(clock: str, tmp_path: Path) -> None:
    with openssh_board(tmp_path) as board:
        (tmp_path / "absent/sitecustomize.py").write_text(PLANTED.format(CLOCKS[clock]))
        lab = make_lab(tmp_path / "lab", board.device())
        with lab.measuring(LONG) as trial:
            lab.wait_for_rounds(2)
            os.kill(lab.read_lock()["pid"], signal.SIGKILL)
        lab.assert_survived(trial, may_fail=False)
        walls = [one["wall"] for one in next(iter(lab.read_journals(lab.newest_run()).values()))]
        assert max(abs(wall - time.time()) for wall in walls) > 1e8  # the clock was wrong
