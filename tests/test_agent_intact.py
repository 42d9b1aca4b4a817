"""Nothing is measured with a file that is not what its name says."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agent import protocol
from host.fleet.agent_archive import build_agent
from tests.agent_board import Board, make_model, pick


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "work", build_agent(tmp_path).path)


def test_a_file_that_rotted_fails_its_task_and_is_removed_so_that_it_is_sent_anew(board: Board) -> None:
    good, rotten = make_model(4), make_model(5)
    tasks = {key: board.describe_task(key, good) for key in ("good", "evaluation", "gone")}
    tasks["model"] = board.describe_task("model", rotten)
    tasks["evaluation"]["evaluation"] = board.put_blob(b"other images")
    tasks["gone"]["reference"] = "0" * 64
    for blob in (tasks["model"]["model"], tasks["evaluation"]["evaluation"]):
        path = board.work / "blobs" / blob
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1  # in the weights: it would open, and answer something else
        path.write_bytes(bytes(content))
    board.put_job("r1", *tasks.values())
    results = {one["task"]: one for one in pick(board.measure("r1"), "result")}
    kinds = {task: one["error"]["kind"] for task, one in results.items() if one["status"] == "failed"}
    assert kinds == {
        "model": protocol.FAILED_CORRUPT,
        "evaluation": protocol.FAILED_CORRUPT,
        "gone": protocol.FAILED_MISSING,
    }
    assert "the blob of the model" in results["model"]["error"]["message"]
    assert "resuming sends it anew" in results["model"]["error"]["message"]
    left = {path.name for path in (board.work / "blobs").iterdir()}
    assert not left & {tasks["model"]["model"], tasks["evaluation"]["evaluation"]}
    assert results["good"]["status"] == "ok"
