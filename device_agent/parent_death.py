"""A child that dies with the process that started it."""

import signal
from typing import Callable, Optional

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def start_pdeathsig() -> Optional[Callable[[], None]]:
    """What a child calls (`preexec_fn`) so that it dies with this process; None where ctypes is missing."""
    try:
        import ctypes
    except ImportError:
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
