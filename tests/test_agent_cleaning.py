"""Room on a board: what was used longest ago goes first, and nothing that a run or a sender needs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from device_agent import protocol
from device_agent.lock import acquire_lock
from device_agent.logs import MOST_BYTES, bound_log, open_log
from device_agent.sending import hold_off_cleaning
from device_agent.work_folder import WorkFolder
from host.fleet.agent_archive import build_agent
from tests.agent_board import PROTOCOL, Board

HOUR_S = 3600.0


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "work", build_agent(tmp_path).path)


def put(board: Board, name: str, size: int = 1000, hours_ago: float = 0.0) -> str:
    """A file below the work folder that was last used so long ago; the name of the thing that it is."""
    path = board.work / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    for each in (path, path.parent):
        age(each, hours_ago)
    return name


def age(path: Path, hours_ago: float) -> None:
    at = time.time() - hours_ago * HOUR_S
    os.utime(path, (at, at))


def sha(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()


def clean(board: Board, **question: Any) -> Any:
    if "older_s" not in question:
        question.setdefault("keep_bytes", 0)
    code, answer = board.call("clean", stdin=json.dumps(question).encode())
    assert code == 0, answer
    return answer


def names(answer: Any) -> list[str]:
    return [item["name"] for item in answer["removed"]]


def put_run(board: Board, run: str, *, model: str, results: int = 0, ended: str | None = None) -> None:
    """A run of two tasks, and the journal that it has so far."""
    tasks = [{"task": f"t{n}", "model": sha(model), "feeds": sha(f"feeds of {model}")} for n in range(2)]
    lines = [{"seq": n + 1, "event": "result", "task": f"t{n}", "status": "ok"} for n in range(results)]
    if ended:
        lines.append({"seq": results + 1, "event": "run-ended", "reason": ended})
    folder = board.work / "runs" / run
    folder.mkdir(parents=True)
    job = {"schema": 1, "run": run, "layer": sha("layer"), "protocol": PROTOCOL, "tasks": tasks}
    (folder / "job.json").write_text(json.dumps(job))
    (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_what_was_used_longest_ago_goes_first_until_the_rest_fits(board: Board) -> None:
    for hours in (1, 3, 2):
        put(board, f"blobs/{sha(str(hours))}", hours_ago=hours)
    answer = clean(board, keep_bytes=1500)
    assert names(answer) == [sha("3"), sha("2")]
    assert (answer["freed_bytes"], answer["kept_bytes"], answer["removed_count"]) == (2000, 1000, 2)
    assert answer["removed"][0] | {"idle_s": None} == {
        "kind": "file",
        "name": sha("3"),
        "bytes": 1000,
        "idle_s": None,
    }
    assert 2.9 * HOUR_S < answer["removed"][0]["idle_s"] < 3.1 * HOUR_S
    assert [path.name for path in (board.work / "blobs").iterdir()] == [sha("1")]


def test_what_nobody_has_used_for_so_long_goes_whatever_its_size(board: Board) -> None:
    for hours in (1, 30):
        put(board, f"blobs/{sha(str(hours))}", hours_ago=hours)
    assert names(clean(board, older_s=24 * HOUR_S)) == [sha("30")]


def test_every_kind_of_thing_goes_and_locks_and_knowledge_stay(board: Board) -> None:
    for name in (
        f"blobs/{sha('a')}",
        f"blobs/{sha('b')}.part",
        f"layers/{sha('c')}/numpy/core.so",
        f"agents/{sha('d')}.pyz",
        f"agents/{sha('d')}.files/device_agent/main.py",
        "engines/tensorrt/abc.engine",
        "engines/ort-trt/0123-45/one.engine",
        "engines/ort-trt/timing.cache",
        "runs/r.1/agent.log",
        f"layers/{sha('c')}.gone/half",
        f"agents/{sha('e')}.pyz.77.part",
    ):
        put(board, name, hours_ago=2)
    for name in ("lock", "board.json", "notes of mine"):
        put(board, name)
    would = clean(board, fetched=["r.1"], dry_run=True)
    assert (board.work / "layers" / sha("c")).is_dir()
    answer = clean(board, fetched=["r.1"])
    assert sorted(names(answer)) == sorted(names(would))
    kinds = {item["kind"] for item in answer["removed"]}
    assert kinds == {"file", "unfinished file", "packages", "agent", "engine", "run", "scratch"}
    left = [path.relative_to(board.work).as_posix() for path in board.work.rglob("*") if path.is_file()]
    assert sorted(left) == ["board.json", "lock", "notes of mine", "sending"]


def test_asking_for_a_file_or_its_layer_is_using_it(board: Board) -> None:
    for name in ("asked", "other"):
        put(board, f"blobs/{sha(name)}", hours_ago=9)
        put(board, f"layers/{sha(name)}/x.py", hours_ago=9)
    question = {"blobs": [sha("asked")], "layers": [sha("asked")]}
    assert board.call("inventory", stdin=json.dumps(question).encode())[0] == 0
    assert sorted(names(clean(board, older_s=HOUR_S))) == [sha("other")] * 2


def test_what_a_run_that_is_not_over_needs_stays(board: Board) -> None:
    put_run(board, "open.1", model="m", results=1)
    for name in ("m", "feeds of m", "other"):
        put(board, f"blobs/{sha(name)}", hours_ago=999)
    put(board, f"layers/{sha('layer')}/x.py", hours_ago=999)
    answer = clean(board)
    assert names(answer) == [sha("other")]
    assert answer["runs"] == ["open.1"]
    assert answer["needed_bytes"] == answer["kept_bytes"] > 3000
    assert len(clean(board, fetched=["open.1"])["removed"]) == 4


def test_a_run_that_is_over_keeps_its_results_until_they_are_fetched_and_not_its_files(board: Board) -> None:
    put_run(board, "over.1", model="m", results=2, ended="completed")
    put(board, f"blobs/{sha('m')}", hours_ago=999)
    assert names(clean(board)) == [sha("m")]
    assert (board.work / "runs/over.1/journal.jsonl").exists()
    assert names(clean(board, fetched=["over.1"])) == ["over.1"]


def test_runs_are_given_up_only_where_that_is_asked_for(board: Board) -> None:
    put_run(board, "open.1", model="m")
    assert names(clean(board)) == []
    assert names(clean(board, abandoned=True)) == ["open.1"]


def test_files_of_a_recent_run_count_as_used_where_the_disk_does_not_tell(board: Board) -> None:
    put_run(board, "over.1", model="m", results=2, ended="completed")
    for name in ("m", "other"):
        put(board, f"blobs/{sha(name)}", hours_ago=999)
    assert names(clean(board, older_s=24 * HOUR_S)) == [sha("other")]


def test_nothing_is_removed_while_a_run_measures(board: Board) -> None:
    put(board, f"blobs/{sha('a')}")
    lock = acquire_lock(WorkFolder(str(board.work)), "r.1", "ann@laptop")
    code, answer = board.call("clean", stdin=b'{"keep_bytes": 0}')
    assert (code, answer["error"]["kind"]) == (protocol.EXIT_LOCKED, protocol.ERROR_LOCKED)
    assert "ann@laptop" in answer["error"]["message"]
    assert names(clean(board, dry_run=True)) == [sha("a")]
    os.close(lock)
    assert names(clean(board)) == [sha("a")]


def test_nothing_is_removed_while_a_host_sends(board: Board) -> None:
    put(board, f"blobs/{sha('a')}")
    with board.start_call("receive", stdin=subprocess.PIPE) as sending:
        while not (board.work / "sending").exists():
            assert sending.poll() is None
        assert sending.stdin is not None
        sending.stdin.write(b'{"sha256": "' + sha("").encode() + b'", "size": 0, "offset": 0}\n')
        sending.stdin.flush()
        assert sending.stdout is not None
        assert json.loads(sending.stdout.readline())["ok"]
        code, answer = board.call("clean", stdin=b'{"keep_bytes": 0}')
        assert (code, answer["error"]["kind"]) == (protocol.EXIT_FAULT, protocol.ERROR_SENDING)
    assert len(clean(board)["removed"]) == 2


def test_an_agent_that_runs_stays(board: Board) -> None:
    own = sha("own")
    put(board, f"agents/{sha('old')}.pyz", hours_ago=999)
    agent = board.work / "agents" / f"{own}.pyz"
    agent.write_bytes(board.agent.read_bytes())
    answer = clean(Board(board.work, agent))
    assert names(answer) == [sha("old")]


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"keep_bytes": 1, "older_s": 1},
        {"keep_bytes": -1},
        {"keep_bytes": "2GB"},
        {"keep_bytes": 0, "fetched": "r"},
    ],
)
def test_a_broken_question_removes_nothing(board: Board, question: dict[str, Any]) -> None:
    put(board, f"blobs/{sha('a')}")
    code, _ = board.call("clean", stdin=json.dumps(question).encode())
    assert code == protocol.EXIT_FAULT
    assert (board.work / "blobs" / sha("a")).exists()


def test_a_damaged_job_or_journal_holds_its_run_and_not_the_cleaning(board: Board) -> None:
    for name, text in (("job.json", b"{torn"), ("journal.jsonl", b'{"seq": 1, "event": "resu')):
        put_run(board, f"{name}.1", model="m")
        (board.work / "runs" / f"{name}.1" / name).write_bytes(text)
    assert sorted(clean(board)["runs"]) == ["job.json.1", "journal.jsonl.1"]


def test_links_are_removed_and_not_followed(board: Board, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    for folder, name in (("layers", sha("a")), ("blobs", sha("b")), ("engines", "tensorrt")):
        (board.work / folder).mkdir(parents=True, exist_ok=True)
        (board.work / folder / name).symlink_to(tmp_path / "precious")
    clean(board)
    assert (tmp_path / "precious" / "file").exists()


def test_a_board_that_was_never_used_has_nothing_to_remove(board: Board) -> None:
    answer = clean(board)
    assert (answer["removed"], answer["freed_bytes"], answer["kept_bytes"]) == ([], 0, 0)


def test_putting_a_job_down_waits_for_a_cleaning_and_not_the_other_way_round(tmp_path: Path) -> None:
    folder = WorkFolder(str(tmp_path))
    with hold_off_cleaning(folder), hold_off_cleaning(folder):
        pass  # many may send at once


def test_a_log_that_grows_is_cut_and_goes_on(tmp_path: Path) -> None:
    path = str(tmp_path / "worker.log")
    with open_log(path) as log:
        log.write(b"early\n" + b"line\n" * MOST_BYTES)
        log.flush()
        bound_log(path)
        assert Path(path).stat().st_size < MOST_BYTES / 4
        log.write(b"the end\n")
    text = Path(path).read_bytes()
    assert text.startswith(b"(")
    assert b"bytes stood here)\nline\n" in text
    assert text.endswith(b"line\nthe end\n")
    bound_log(str(tmp_path / "absent.log"))
