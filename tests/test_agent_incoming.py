"""Frames from a link that may be cut anywhere, or die without a word."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from device_agent import protocol
from device_agent.faults import AgentFault
from device_agent.incoming import Incoming, Stalled
from device_agent.store import LOCK_WAIT_S, receive_blobs
from device_agent.work_folder import WorkFolder
from host.fleet.agent_archive import build_agent
from host.fleet.deploying import SEND_SECONDS
from tests.agent_board import Board

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def make_frame(content: bytes = CONTENT, offset: int = 0) -> bytes:
    header = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "offset": offset}
    return json.dumps(header).encode() + b"\n" + content[offset:]


def receive(folder: WorkFolder, sent: bytes, *, is_over: bool, patience_s: float = 30.0) -> list[Any]:
    """What the board answers to bytes after which the link ends, or falls silent."""
    reader, writer = os.pipe()
    sending = threading.Thread(target=_send, args=(writer, sent, is_over))
    sending.start()
    answers: list[Any] = []
    try:
        receive_blobs(folder, Incoming(reader, patience_s), answers.append)
    finally:
        sending.join()
        if not is_over:
            os.close(writer)
        os.close(reader)
    return answers


def _send(writer: int, sent: bytes, is_over: bool) -> None:
    with os.fdopen(writer, "wb", closefd=is_over) as file:
        file.write(sent)


@pytest.fixture
def folder(tmp_path: Path) -> WorkFolder:
    return WorkFolder(str(tmp_path / "work"))


def part_size(folder: WorkFolder) -> int:
    part = Path(folder.blob(SHA256) + ".part")
    return part.stat().st_size if part.exists() else 0


HEADER = len(make_frame()) - len(CONTENT)


@pytest.mark.parametrize("is_over", [True, False], ids=["ended", "silent"])
@pytest.mark.parametrize(
    "cut_at", [0, 1, HEADER - 1, HEADER, HEADER + 1, HEADER + 5000, HEADER + len(CONTENT) - 1]
)
def test_a_frame_that_is_cut_anywhere_leaves_what_came_and_goes_on_from_there(
    folder: WorkFolder, cut_at: int, is_over: bool
) -> None:
    try:
        answers = receive(folder, make_frame()[:cut_at], is_over=is_over, patience_s=0.05)
        assert is_over
        assert not any(answer["ok"] for answer in answers)
    except Stalled:
        assert not is_over
    except AgentFault as fault:
        assert 0 < cut_at < HEADER
        assert fault.kind == protocol.ERROR_CORRUPT
    there = part_size(folder)
    assert there == max(0, cut_at - HEADER)
    answers = receive(folder, make_frame(offset=there), is_over=True)
    assert answers == [{"sha256": SHA256, "ok": True}]
    assert Path(folder.blob(SHA256)).read_bytes() == CONTENT


def test_what_came_before_a_silent_frame_is_whole_and_was_answered(folder: WorkFolder) -> None:
    answers: list[Any] = []
    reader, writer = os.pipe()
    os.write(writer, make_frame(b"first") + make_frame()[:-1])
    with pytest.raises(Stalled, match="nothing arrived for 0 s") as caught:
        receive_blobs(folder, Incoming(reader, 0.05), answers.append)
    os.close(reader)
    os.close(writer)
    assert caught.value.kind == protocol.ERROR_STALLED
    assert [answer["ok"] for answer in answers] == [True]
    assert part_size(folder) == len(CONTENT) - 1


def test_lines_and_bytes_come_from_one_stream_in_pieces_of_any_size() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        file.write(b"one\n\ntwo" + b"x" * 100)
    stream = Incoming(reader)
    assert stream.read_line(50) == b"one\n"
    assert stream.read(1) == b"\n"
    assert stream.read_line(50) == b"two" + b"x" * 47
    assert b"".join(iter(lambda: stream.read(7), b"")) == b"x" * 53
    assert stream.read_line(50) == b""
    os.close(reader)


def test_the_board_gives_up_a_dead_link_before_others_and_the_host_lose_patience() -> None:
    assert protocol.STALL_S < LOCK_WAIT_S < SEND_SECONDS


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "work", build_agent(tmp_path).path)


def begin_transfer(board: Board, *words: str) -> subprocess.Popen[bytes]:
    """A transfer whose link is dead: it holds its blob and waits for more."""
    begun = board.start_call("receive", *words, stdin=subprocess.PIPE)
    assert begun.stdin is not None
    begun.stdin.write(make_frame()[:-5])
    begun.stdin.flush()
    part = board.work / "blobs" / f"{SHA256}.part"
    while not part.exists() or not part.stat().st_size:
        assert begun.poll() is None
    return begun


def test_a_sender_that_comes_again_ends_its_own_dead_transfer_at_once(board: Board) -> None:
    with begin_transfer(board, "--sender", "ours") as dead:
        code, answer = board.call("receive", "--sender", "ours", stdin=make_frame())
        assert (code, answer["ok"]) == (0, True)
        assert dead.wait(60) == -signal.SIGTERM
    assert (board.work / "blobs" / SHA256).read_bytes() == CONTENT


def test_a_sender_never_ends_the_transfer_of_another_one(board: Board) -> None:
    with begin_transfer(board, "--sender", "theirs") as alive:
        with board.start_call("receive", "--sender", "ours", stdin=subprocess.PIPE) as waiting:
            assert waiting.stdin is not None
            waiting.stdin.write(make_frame())
            waiting.stdin.close()
            with pytest.raises(subprocess.TimeoutExpired):
                waiting.wait(1.0)
            alive.communicate(make_frame()[-5:], timeout=60)
            assert waiting.stdout is not None
            assert json.loads(waiting.stdout.read())["ok"]
        assert (alive.returncode, waiting.returncode) == (0, 0)
