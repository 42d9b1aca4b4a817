"""A board that lies. Its interpreter runs this file: `hostile_board.py LIE WORD…` answers for the agent.

Whatever the lie is not about, the real agent does.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Told = dict[str, Any]

OUTSIDE = "../../../../escaped"
ESCAPES = "\x1b]0;title\x07\x1b[31m"


def say_garbage_forever() -> None:
    while True:
        sys.stdout.buffer.write(b"\xff\x00garbage\n" * 10_000)


def say_one_line_forever() -> None:
    while True:
        sys.stdout.buffer.write(b'{"seq": 1, "event": "' * 10_000)


def nest_deeply() -> None:
    sys.stdout.write("[" * 200_000)


def say_nothing() -> None:
    sys.stdout.write("")


def answer_a_list() -> None:
    sys.stdout.write("[1, 2, 3]\n")


FLOODS: dict[str, Callable[[], None]] = {
    "garbage": say_garbage_forever,
    "one-line": say_one_line_forever,
    "nested": nest_deeply,
    "nothing": say_nothing,
    "list": answer_a_list,
}


def with_fields(name: str, /, **fields: Any) -> Callable[[Told], Iterable[Told]]:
    """Every event of that name with other values."""
    return lambda told: [{**told, **fields} if told.get("event") == name else told]


def twice(event: str) -> Callable[[Told], Iterable[Told]]:
    """Every event of that name a second time, under the number of the next."""
    return lambda told: [told, {**told, "seq": told["seq"] + 1}] if told.get("event") == event else [told]


FORGERIES: dict[str, Callable[[Told], Iterable[Told]]] = {
    "run-outside": with_fields("run-started", run=OUTSIDE),
    "task-outside": with_fields("task-opened", task=OUTSIDE),
    "other-result": with_fields("result", task="0123456789abcdef"),
    "other-run": with_fields("run-started", run="20200101-000000-abcd.01234567"),
    "result-twice": twice("result"),
    "round-twice": twice("round"),
    "text-for-number": with_fields("round", count="16"),
    "list-for-text": with_fields("task-opened", provider=["CPUExecutionProvider"]),
    "negative": with_fields("round", seconds=-1.0),
    "infinite": with_fields("round", seconds=float("inf")),
    "many-samples": with_fields("round", count=400_000),
    "early-result": with_fields("task-opened", event="result", status="ok"),
    "far-ahead": with_fields("run-started", seq=10**9),
    "escapes": with_fields("task-opened", provider=ESCAPES, event=ESCAPES),
}
"""What happens to each line of the journal on its way."""

CLAIMS: dict[str, tuple[str, Told]] = {
    "all-is-there": ("inventory", {"layers": [OUTSIDE]}),
    "no-bytes": ("inventory", {"free_bytes": "plenty"}),
    "parts-outside": ("inventory", {"parts": {OUTSIDE: 10}}),
    "cores": ("probe", {"cores": "four"}),
    "board-escapes": ("probe", {"python": ESCAPES}),
    "runtimes": ("probe", {"runtimes": {"onnxruntime": [OUTSIDE]}}),
    "schema": ("probe", {"schema": []}),
    "job": ("put-job", {"error": {"kind": OUTSIDE, "message": ESCAPES * 10_000}}),
}
"""Which command's answer gets which fields."""


def main(lie: str, words: list[str]) -> int:
    kind, _, rest = lie.partition(":")
    command, _, how = rest.partition(":")
    if kind == "flood" and command in words:
        FLOODS[how]()
        return 0
    if kind == "forge" and "follow" in words:
        return forge_journal(words, FORGERIES[command])
    if kind == "claim" and CLAIMS[command][0] in words:
        return change_answer(words, CLAIMS[command][1])
    return os.execv(sys.executable, [sys.executable, *words])


def forge_journal(words: list[str], forge: Callable[[Told], Iterable[Told]]) -> int:
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            for told in forge(json.loads(line)):
                sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
    return process.returncode


def change_answer(words: list[str], fields: Told) -> int:
    done = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, check=False)
    told = {} if "error" in fields else json.loads(done.stdout)
    print(json.dumps({**told, **fields}))
    return 1 if "error" in fields else done.returncode


def write_interpreter(path: Path, lie: str) -> str:
    """A program that a device can name as its `python`."""
    words = [sys.executable, str(Path(__file__).resolve()), lie]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    path.chmod(0o755)
    return str(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
