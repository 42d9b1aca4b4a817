"""What a person answered to an SSH server: asked once for each question and command, kept in memory alone."""

from __future__ import annotations

import threading
from collections.abc import Callable

AskPassword = Callable[[str], str | None]
"""Asks a person for a password or passphrase; None means that they gave none."""


class Answers:
    """Answers by their questions. Threads that have the same question wait for the first one's answer.

    So a link that is opened again asks nobody again. What a server refused is asked for anew.
    """

    def __init__(self, ask: AskPassword) -> None:
        self._ask = ask
        self._known: dict[str, str | None] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def ask(self, question: str, refused: str | None = None) -> str | None:
        """The answer; `refused` is the one that did not help just now. None stays None: nobody is asked
        twice who has nothing to say."""
        with self._lock:
            own = self._locks.setdefault(question, threading.Lock())
        with own:
            if question not in self._known or (refused is not None and self._known[question] == refused):
                self._known[question] = self._ask(question)
            return self._known[question]


_answers: list[Answers] = []
"""Those of this command; none where nobody may be asked."""


def let_person_be_asked(ask: AskPassword) -> None:
    """From now on, whatever opens a link may ask."""
    _answers[:] = [Answers(ask)]


def find_answers() -> Answers | None:
    return _answers[0] if _answers else None
