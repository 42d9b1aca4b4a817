"""The person at the terminal, who may be asked for a secret while other things are drawn there."""

from __future__ import annotations

import atexit
import contextlib
import getpass
import os
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

Pause = Callable[[], AbstractContextManager[None]]

_pauses: list[Pause] = []
_asking = threading.RLock()


def begin_drawing(pause: Pause) -> None:
    """From now on `pause` holds a drawing on the terminal still while somebody is asked."""
    _pauses.append(pause)


def end_drawing(pause: Pause) -> None:
    _pauses.remove(pause)


def has_terminal() -> bool:
    """Whether somebody may be asked: also where standard input and output are files."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def ask_secret(prompt: str) -> str | None:
    """What a person types, unseen; None where they give nothing, or nobody is there.

    One question at a time, whatever thread asks.
    """
    with _asking, contextlib.ExitStack() as held:
        for pause in tuple(_pauses):
            held.enter_context(pause())
        try:
            with _restoring_terminal():
                return getpass.getpass(prompt) or None
        except (EOFError, OSError):
            return None


@contextlib.contextmanager
def _restoring_terminal() -> Iterator[None]:
    """Echo comes back whatever ends us: an interrupted command does not wait for the thread that asks."""
    terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    restore = partial(termios.tcsetattr, terminal, termios.TCSADRAIN, termios.tcgetattr(terminal))
    atexit.register(restore)
    try:
        yield
    finally:
        atexit.unregister(restore)
        restore()
        os.close(terminal)
