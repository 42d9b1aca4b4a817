"""The user's name on this machine."""

from __future__ import annotations

import getpass
import os


def find_login() -> str:
    """The login name; the number of a user who has none, as in a container that runs as any number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())
