"""Asking a person at a terminal: unseen, one at a time, and the terminal is as before whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.pseudo_terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent
ASK = "from host.terminal import ask_secret, has_terminal; print('got', has_terminal(), ask_secret('Say: '))"
DRAW = """
from contextlib import contextmanager
from host.terminal import ask_secret, begin_drawing
@contextmanager
def pause():
    print('held'); yield; print('drawn')
begin_drawing(pause)
print('got', ask_secret('Say: '))
"""
THREAD = """
import threading, time
from host.terminal import ask_secret
threading.Thread(target=ask_secret, args=('Say: ',), daemon=True).start()
time.sleep(60)
"""


def test_what_is_typed_is_not_shown() -> None:
    terminal = Terminal(["-c", ASK], ROOT)
    terminal.wait_for("Say: ")
    terminal.wait_unseen()
    terminal.type("open sesame\n")
    assert terminal.end() == 0
    assert terminal.seen.replace("\r", "") == "Say: \ngot True open sesame\n"


def test_the_end_of_input_is_no_answer() -> None:
    terminal = Terminal(["-c", ASK], ROOT)
    terminal.wait_for("Say: ")
    terminal.wait_unseen()
    terminal.type("\x04")
    assert terminal.end() == 0
    assert "got True None" in terminal.seen


def test_drawings_hold_still_meanwhile() -> None:
    terminal = Terminal(["-c", DRAW], ROOT)
    terminal.wait_for("Say: ")
    terminal.wait_unseen()
    terminal.type("yes\n")
    assert terminal.end() == 0
    assert terminal.seen.replace("\r", "").split() == ["held", "Say:", "drawn", "got", "yes"]


def test_an_interrupt_while_a_thread_asks_gives_the_terminal_back() -> None:
    terminal = Terminal(["-c", THREAD], ROOT)
    terminal.wait_for("Say: ")
    terminal.wait_unseen()
    terminal.process.send_signal(signal.SIGINT)
    terminal.wait_for("KeyboardInterrupt")
    for _ in range(200):
        if terminal.has_echo():
            break
        time.sleep(0.02)
    assert terminal.has_echo()
    terminal.end()


def test_without_a_terminal_nobody_is_asked() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        timeout=60,
    )
    assert done.stdout == "got False None\n"
    assert done.stderr == ""
