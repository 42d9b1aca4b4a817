"""The board restores packed models by itself, through the agent's own command line."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from device_agent import protocol
from host.compress.weight_packing import write_packed
from host.fleet.agent_archive import build_agent
from tests.agent_board import Board


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "work", build_agent(tmp_path).path)


def make_sparse_model() -> bytes:
    """Every way to write a tensor is in it: dense and sparse, of four and more bits, scales and integers."""
    generator = np.random.default_rng(0)
    values = generator.integers(-8, 8, 4000) * (generator.random(4000) < 0.3)
    scales = generator.random(64, np.float32)
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "nibbles": values.astype(np.int8),
        "bytes": (values * 9).astype(np.int8),
        "rare": np.where(generator.random(9000) < 0.004, 77, 0).astype(np.int8),
        "floats": (values * 0.37).astype(np.float32),
        "halves": generator.random(300).astype(np.float16),
        "integers": (values * 12345).astype(np.int32),
        "w_scale": scales,
        "b_scale": scales * np.float32(0.3),
        "x_scale": np.array(0.3, np.float32),
    }
    nodes = [helper.make_node("DequantizeLinear", ["nibbles", f"{name}_scale"], [name]) for name in "wbx"]
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    data: bytes = helper.make_model(helper.make_graph(nodes, "made", [], [], tensors)).SerializeToString()
    return data


def list_blobs(board: Board) -> list[str]:
    return sorted(path.name for path in (board.work / "blobs").iterdir())


def test_a_model_is_restored_under_its_own_name_and_the_packed_one_goes(board: Board) -> None:
    model = make_sparse_model()
    packed = board.put_blob(write_packed(model).data)
    sha256 = hashlib.sha256(model).hexdigest()
    assert board.call("expand", packed) == (0, {"sha256": sha256, "size": len(model)})
    assert list_blobs(board) == [sha256]
    path = board.work / "blobs" / sha256
    assert path.read_bytes() == model
    assert path.stat().st_mode & 0o777 == 0o600
    assert onnx.load_from_string(path.read_bytes()).graph.name == "made"


def test_a_model_that_is_there_is_not_written_again(board: Board) -> None:
    model = make_sparse_model()
    path = board.work / "blobs" / board.put_blob(model)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    code, _ = board.call("expand", board.put_blob(write_packed(model).data))
    assert code == protocol.EXIT_OK
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert list_blobs(board) == [path.name]


def test_a_damaged_one_is_refused_and_leaves_nothing(board: Board) -> None:
    packed = bytearray(write_packed(make_sparse_model()).data)
    packed[-1] ^= 1
    code, answer = board.call("expand", board.put_blob(bytes(packed)))
    assert code == protocol.EXIT_FAULT
    assert answer["error"]["kind"] == protocol.ERROR_CORRUPT
    assert list_blobs(board) == []


def test_what_is_no_packed_model_is_refused(board: Board) -> None:
    code, answer = board.call("expand", board.put_blob(os.urandom(1000)))
    assert (code, answer["error"]["kind"]) == (protocol.EXIT_FAULT, protocol.ERROR_CORRUPT)


def test_a_model_with_another_hash_than_told_is_refused(board: Board) -> None:
    packed = bytearray(write_packed(make_sparse_model()).data)
    start = struct.calcsize(protocol.PACKED_START)
    packed[start] ^= 1  # of the hash, under a checksum that fits
    checksum = zlib.crc32(packed[start:])
    struct.pack_into(
        protocol.PACKED_START, packed, 0, protocol.PACKED_MAGIC, protocol.PACKED_VERSION, checksum
    )
    code, answer = board.call("expand", board.put_blob(bytes(packed)))
    assert (code, answer["error"]["kind"]) == (protocol.EXIT_FAULT, protocol.ERROR_CORRUPT)
    assert "SHA-256" in answer["error"]["message"]
    assert list_blobs(board) == []


def test_one_that_never_came_is_missing(board: Board) -> None:
    code, answer = board.call("expand", "0" * 64)
    assert (code, answer["error"]["kind"]) == (protocol.EXIT_FAULT, protocol.ERROR_MISSING)


def find_pythons() -> list[str]:
    """Interpreters of this machine as old as boards have them."""
    installed = Path("~/.pyenv/versions").expanduser()
    found = [str(path / "bin" / "python") for path in sorted(installed.glob("3.[678].*"))]
    return [python for python in found if shutil.which(python)]


@pytest.mark.parametrize("python", find_pythons() or [None])
def test_an_old_python_restores_a_model_too(board: Board, python: str | None) -> None:
    if python is None or subprocess.run([python, "-c", "import lzma"], check=False).returncode:
        pytest.skip("no Python 3.6 to 3.8 with lzma on this machine")
    board.python = python
    model = make_sparse_model()
    code, answer = board.call("expand", board.put_blob(write_packed(model).data))
    assert (code, answer) == (0, {"sha256": hashlib.sha256(model).hexdigest(), "size": len(model)})


def test_a_python_without_lzma_says_so(board: Board, tmp_path: Path) -> None:
    (tmp_path / "poor" / "lzma.py").parent.mkdir()
    (tmp_path / "poor" / "lzma.py").write_text("raise ImportError('no _lzma')")
    packed = board.put_blob(write_packed(make_sparse_model()).data)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "poor")}
    with board.start_call("expand", packed, env=environment) as process:
        answer, _ = process.communicate(timeout=60)
    assert process.returncode == protocol.EXIT_FAULT
    assert b"no module lzma" in answer
    assert list_blobs(board) == []
