"""A user's own code, and libraries at work on a user's model: what they raise is an expected failure."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from host.errors import BenchError, BuildError


@contextmanager
def blame_code(what: str) -> Iterator[None]:
    """Turn what is raised in the block into a BuildError that says `what` failed, why, and where.

    SystemExit too: a module that exits when it is imported must not end us in silence.
    """
    try:
        yield
    except BenchError:
        raise
    except (Exception, SystemExit) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise BuildError(
            f"{what}: {type(error).__name__}: {reason}",
            f"It was raised in {_find_place(error)}; `bench --debug …` shows the way there.",
        ) from error


def _find_place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename}, line {last.lineno}"
