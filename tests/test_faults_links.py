"""Links that break, stall or crawl at every step of a run, over OpenSSH's own server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent_board import make_model
from tests.faults import LONG, Lab, Trial, make_lab
from tests.openssh_board import OpensshBoard, openssh_board
from tests.relay import Relay, relayed
from tests.slow_links import slow_network

pytestmark = [pytest.mark.slow, pytest.mark.sshd]

STEPS = ("look", "put", "probe", "inventory", "receive", "put-job", "start", "follow")
"""What the host asks of the board one after another, from the first look for the agent to the journal."""

PACKAGE_STEPS = ("receive", "unpack")
"""What comes between `inventory` and `put-job` where packages are sent, too."""


@pytest.fixture
def relay(board: OpensshBoard) -> Iterator[Relay]:
    with relayed(board.device()) as (_, relay):
        yield relay


@pytest.fixture
def lab(board: OpensshBoard, relay: Relay, tmp_path: Path) -> Lab:
    """A device that is reached through the relay, and a work folder that nobody has used."""
    device = board.device(work_folder=f"~/{tmp_path.name}").model_copy(update={"port": relay.port})
    return make_lab(tmp_path, device)


def cut_at_every_stop(board: OpensshBoard, relay: Relay, trial: Trial, names: list[str]) -> None:
    """Cut the link while the board is about to do each step, or has done it and cannot say so."""
    with board.stumbling(*names) as reached:
        while trial.is_running:
            if reached.exists():
                relay.cut()
                time.sleep(0.1)  # the host notices before the board goes on
                reached.unlink()
            time.sleep(0.02)
        assert [name for name in names if (board.folder / name).exists()] == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_link_that_is_cut_at_every_step_costs_nothing_but_time(
    board: OpensshBoard, relay: Relay, lab: Lab, moment: str
) -> None:
    with lab.measuring() as trial:
        cut_at_every_stop(board, relay, trial, [f"{moment}-{step}" for step in STEPS])
    lab.assert_survived(trial, may_fail=False)
    assert sum("trying again" in said for said in trial.progress.said) >= len(STEPS)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_link_that_is_cut_while_packages_are_sent_or_unpacked_costs_nothing_but_time(
    board: OpensshBoard, relay: Relay, bare_lab: Lab, moment: str
) -> None:
    with bare_lab.measuring() as trial:
        cut_at_every_stop(board, relay, trial, [f"{moment}-{step}" for step in PACKAGE_STEPS])
    bare_lab.assert_survived(trial, may_fail=False)
    assert sum("trying again" in said for said in trial.progress.said) >= len(PACKAGE_STEPS)
    assert bare_lab.list_board("layers")


def test_a_link_that_is_cut_while_connecting_is_made_again(relay: Relay, lab: Lab) -> None:
    relay.cut_each_after(answers=500)  # in the middle of agreeing on keys
    with lab.measuring() as trial:
        while relay.cuts < 2:
            time.sleep(0.02)
        relay.cut_each_after()
    lab.assert_survived(trial, may_fail=False)


def test_a_file_that_no_link_lives_long_enough_for_arrives_piece_by_piece(relay: Relay, lab: Lab) -> None:
    lab.model.write_bytes(make_model(9000, batch=1))
    assert lab.model.stat().st_size > 12_000_000
    relay.cut_each_after(questions=6_000_000)  # a server buffers two, which are lost with the link
    trial = lab.measure()
    relay.cut_each_after()
    lab.assert_survived(trial, may_fail=False)
    assert relay.cuts >= 2


def test_a_journal_that_no_link_lives_long_enough_for_is_heard_once(relay: Relay, lab: Lab) -> None:
    with lab.measuring(LONG) as trial:
        lab.wait_for_rounds(1)
        relay.cut_each_after(answers=100_000)  # some lines of the journal
        relay.cut()
    relay.cut_each_after()
    lab.assert_survived(trial, may_fail=False)
    assert relay.cuts >= 1


def test_an_ssh_server_that_is_restarted_is_found_again(board: OpensshBoard, lab: Lab) -> None:
    with lab.measuring(LONG) as trial:
        lab.wait_for_rounds(2)
        board.stop_server()
        time.sleep(1.5)  # the first tries are refused
        board.start()
    lab.assert_survived(trial, may_fail=False)
    assert len(lab.read_starts()) == 1


def test_a_link_that_stands_still_for_a_while_is_waited_for(relay: Relay, lab: Lab) -> None:
    with lab.measuring(LONG) as trial:
        lab.wait_for_rounds(2)
        relay.freeze()
        time.sleep(2)
        relay.thaw()
    lab.assert_survived(trial, may_fail=False)
    assert trial.progress.said[1:] == []  # nothing but the name of the run


def test_a_link_with_long_delays_is_slow_and_nothing_else(relay: Relay, lab: Lab) -> None:
    relay.slow_down(delay_s=0.05, bytes_per_s=500_000)
    trial = lab.measure()
    relay.slow_down(delay_s=0, bytes_per_s=0)
    lab.assert_survived(trial, may_fail=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces with netem need root")
def test_over_a_megabit_with_300_ms_and_5_percent_loss_everything_arrives(tmp_path: Path) -> None:
    with (
        slow_network("rate 1mbit delay 150ms loss 5%") as network,
        openssh_board(tmp_path, within=network.within, address=network.address) as board,
    ):
        lab = make_lab(tmp_path / "lab", board.device())
        lab.assert_survived(lab.measure(), may_fail=False)
