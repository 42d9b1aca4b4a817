"""Blobs and layers on the board, through the agent's own command line."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from device_agent import protocol
from host.fleet.agent_archive import build_agent
from tests.agent_board import Board


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "work", build_agent(tmp_path).path)


def frame(content: bytes, offset: int = 0, **changes: Any) -> bytes:
    header = {"sha256": sha256_of(content), "size": len(content), "offset": offset, **changes}
    return json.dumps(header).encode() + b"\n" + content[offset:]


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def receive(board: Board, *frames: bytes) -> Any:
    code, answer = board.call("receive", stdin=b"".join(frames))
    assert code == 0
    return answer


def ask_inventory(board: Board, *blobs: str, layers: tuple[str, ...] = ()) -> Any:
    code, answer = board.call("inventory", stdin=json.dumps({"blobs": blobs, "layers": layers}).encode())
    assert code == 0
    return answer


def pack_layer(*members: tuple[str, bytes | None], **odd: Any) -> bytes:
    """A .tar.gz; content None makes a folder, `odd` changes the last member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.mode = 0o755 if name.endswith(".so") else 0o644
            info.size = len(content or b"")
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            if name == members[-1][0]:
                for key, value in odd.items():
                    setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content or b""))
    return buffer.getvalue()


def test_blobs_are_received_whole_and_for_their_owner_alone(board: Board) -> None:
    first, second = os.urandom(1 << 20), b""
    answers = receive(board, frame(first), frame(second))
    assert answers == [{"sha256": sha256_of(content), "ok": True} for content in (first, second)]
    path = board.work / "blobs" / sha256_of(first)
    assert path.read_bytes() == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    found = ask_inventory(board, sha256_of(first), sha256_of(second), "0" * 64)
    assert found["blobs"] == {sha256_of(first): 1 << 20, sha256_of(second): 0}
    assert found["free_bytes"] > 0


def test_a_transfer_that_broke_goes_on_where_it_was(board: Board) -> None:
    content = os.urandom(600000)
    broken = receive(board, frame(content)[:-200000])
    assert broken["error"]["kind"] == protocol.ERROR_OTHER
    assert ask_inventory(board, sha256_of(content))["parts"] == {sha256_of(content): 400000}
    assert receive(board, frame(content, offset=400000))["ok"]
    assert (board.work / "blobs" / sha256_of(content)).read_bytes() == content


def test_the_second_of_two_transfers_waits_and_finds_the_blob(board: Board) -> None:
    content = b"sent by two hosts at once"
    whole = frame(content)
    with board.start_call("receive", stdin=subprocess.PIPE) as first:
        assert first.stdin is not None
        first.stdin.write(whole[:-5])
        first.stdin.flush()
        part = board.work / "blobs" / f"{sha256_of(content)}.part"
        while not part.exists():
            assert first.poll() is None
        with board.start_call("receive", stdin=subprocess.PIPE) as second:
            ending = threading.Timer(1.0, first.communicate, (whole[-5:],))
            ending.start()
            answer, _ = second.communicate(whole, timeout=60)
            ending.join()
    assert json.loads(answer)["ok"] is True
    assert (first.returncode, second.returncode) == (0, 0)
    assert names_in(board.work / "blobs") == [sha256_of(content)]
    assert (board.work / "blobs" / sha256_of(content)).read_bytes() == content


def test_changed_content_is_refused_and_leaves_nothing(board: Board) -> None:
    content, next_one = b"good" * 1000, b"next"
    bad = frame(content)[:-1] + b"X"
    answers = receive(board, bad, frame(next_one))
    assert answers[0]["error"]["kind"] == protocol.ERROR_CORRUPT
    assert answers[1]["ok"]
    assert names_in(board.work / "blobs") == [sha256_of(next_one)]


def test_a_blob_that_is_there_is_not_written_again(board: Board) -> None:
    content = b"content" * 100
    receive(board, frame(content))
    path = board.work / "blobs" / sha256_of(content)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert receive(board, frame(content), frame(b"next"))[1]["ok"]
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_an_offset_beyond_what_is_there_is_refused_and_the_next_frame_is_read(board: Board) -> None:
    answers = receive(board, frame(b"a" * 1000, offset=500), frame(b"next"))
    assert answers[0]["error"]["kind"] == protocol.ERROR_CORRUPT
    assert answers[1]["ok"]


def test_a_full_disk_is_told_and_the_next_smaller_blob_still_arrives(board: Board) -> None:
    board.limits = {resource.RLIMIT_FSIZE: 100000}
    answers = receive(board, frame(b"a" * 300000), frame(b"next"))
    assert answers[0]["error"]["kind"] == protocol.ERROR_NO_SPACE
    assert answers[1]["ok"]


@pytest.mark.parametrize(
    "header",
    [
        b"no json\n",
        b'{"sha256": "../../etc/passwd", "size": 1, "offset": 0}\n',
        b'{"sha256": "' + b"0" * 64 + b'", "size": -1, "offset": 0}\n',
        b'{"sha256": "' + b"0" * 64 + b'", "size": 1, "offset": 2}\n',
        b'{"sha256": "' + b"0" * 64 + b'", "size": true, "offset": 0}\n',
        b"x" * 100000,
    ],
)
def test_a_broken_header_ends_the_transfer(board: Board, header: bytes) -> None:
    code, answer = board.call("receive", stdin=header)
    assert code == protocol.EXIT_FAULT
    assert answer["error"]["kind"] in (protocol.ERROR_CORRUPT, protocol.ERROR_BAD_JOB)


def test_a_layer_becomes_a_folder_and_its_archive_goes(board: Board) -> None:
    content = pack_layer(("numpy", None), ("numpy/__init__.py", b"x = 1\n"), ("numpy/core.so", b"\x7fELF"))
    receive(board, frame(content))
    name = sha256_of(content)
    assert board.call("unpack", name) == (0, {"layer": name})
    folder = board.work / "layers" / name
    assert (folder / "numpy/__init__.py").read_bytes() == b"x = 1\n"
    assert (folder / "numpy/__init__.py").stat().st_mode & 0o777 == 0o600
    assert (folder / "numpy/core.so").stat().st_mode & 0o777 == 0o700
    assert names_in(board.work / "blobs") == []
    assert ask_inventory(board, layers=(name,))["layers"] == [name]
    assert board.call("unpack", name) == (0, {"layer": name})  # and again


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("../escaped.py", {}),
        ("/tmp/escaped.py", {}),
        ("a/../../escaped.py", {}),
        ("link", {"type": tarfile.SYMTYPE, "linkname": "/etc"}),
        ("link", {"type": tarfile.LNKTYPE, "linkname": "ok.py"}),
        ("fifo", {"type": tarfile.FIFOTYPE}),
        ("device", {"type": tarfile.CHRTYPE}),
    ],
)
def test_a_layer_holds_regular_files_below_its_folder_and_nothing_else(
    board: Board, name: str, odd: dict[str, Any]
) -> None:
    content = pack_layer(("ok.py", b""), (name, b""), **odd)
    receive(board, frame(content))
    code, answer = board.call("unpack", sha256_of(content))
    assert code == protocol.EXIT_FAULT
    assert answer["error"]["kind"] == protocol.ERROR_CORRUPT
    assert names_in(board.work / "layers") == []
    assert not list(board.work.parent.rglob("escaped.py"))


@pytest.mark.parametrize("cut", [10, 60])
def test_an_archive_that_is_cut_off_is_corrupt(board: Board, cut: int) -> None:
    content = pack_layer(("a.py", os.urandom(5000)))[:-cut] if cut > 10 else b"no archive"
    receive(board, frame(content))
    code, answer = board.call("unpack", sha256_of(content))
    assert code == protocol.EXIT_FAULT
    assert answer["error"]["kind"] == protocol.ERROR_CORRUPT


@pytest.mark.parametrize("at", [0, 12, 3000, -1])
def test_an_archive_that_rotted_is_removed_and_nothing_of_it_is_unpacked(board: Board, at: int) -> None:
    content = pack_layer(("a.py", os.urandom(5000)), ("b.py", b"x = 1\n"))
    receive(board, frame(content))
    rotten = bytearray(content)
    rotten[at] ^= 1
    (board.work / "blobs" / sha256_of(content)).write_bytes(bytes(rotten))
    code, answer = board.call("unpack", sha256_of(content))
    assert code == protocol.EXIT_FAULT
    assert answer["error"]["kind"] == protocol.ERROR_CORRUPT
    assert "the layer's archive was damaged" in answer["error"]["message"]
    assert names_in(board.work / "blobs") == []
    assert not (board.work / "layers").exists()


def test_unpacking_twice_at_once_is_unpacking_once(board: Board) -> None:
    content = pack_layer(*((f"{number}.py", b"x = 1\n") for number in range(2000)))
    receive(board, frame(content))
    calls = [board.start_call("unpack", sha256_of(content)) for _ in range(3)]
    assert [call.communicate(timeout=60)[0].strip() for call in calls] == [
        json.dumps({"layer": sha256_of(content)}).encode()
    ] * 3
    assert names_in(board.work / "layers") == [sha256_of(content)]
    assert names_in(board.work / "blobs") == []


def test_unpacking_what_never_came_is_missing(board: Board) -> None:
    code, answer = board.call("unpack", "0" * 64)
    assert code == protocol.EXIT_FAULT
    assert answer["error"]["kind"] == protocol.ERROR_MISSING


@pytest.mark.parametrize("question", [b"", b"[]", b'{"blobs": 3}', b'{"blobs": ["../x"]}', b"x" * (5 << 20)])
def test_a_broken_question_is_answered_with_an_error(board: Board, question: bytes) -> None:
    code, answer = board.call("inventory", stdin=question)
    assert code == protocol.EXIT_FAULT
    assert answer["error"]["message"]


def test_a_work_folder_that_cannot_be_written_is_told_as_such(board: Board) -> None:
    (board.work.parent / "file").write_text("")
    code, answer = Board(board.work.parent / "file" / "work", board.agent).call("receive", stdin=frame(b"x"))
    assert code == protocol.EXIT_FAULT
    assert answer["error"]["kind"] in (protocol.ERROR_READ_ONLY, protocol.ERROR_OTHER)
